/* Numbers as text, with the digits of the tables. */
function known(value) { return value !== null && value !== undefined; }
function share(value) { return known(value) ? value.toFixed(3) : ""; }
function bracket(low, high) { return known(low) && known(high) ? `[${share(low)}, ${share(high)}]` : ""; }
function strength(value) { return known(value) ? String(Number(value.toPrecision(6))) : ""; }
function distance(value) {
  if (!known(value)) return "";
  if (value === 0) return "0";
  const decimals = 2 - Number(value.toExponential(2).split("e")[1]);
  if (decimals > 6) return value.toExponential(2).replace(/e-(\d)$/, "e-0$1");
  return decimals < 0 ? String(Math.round(value * 10 ** decimals) * 10 ** -decimals) : value.toFixed(decimals);
}
