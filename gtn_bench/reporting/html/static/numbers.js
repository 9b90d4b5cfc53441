/* Numbers as text, with the digits of the tables. */
function known(value) { return value !== null && value !== undefined; }
function fixed(value, decimals) {
  const twice = value * 2 ** (decimals + 1); // odd for an exact tie, which goes to the even digit as in the tables
  if (!Number.isInteger(twice) || twice % 2 === 0) return value.toFixed(decimals);
  const below = Math.floor(value * 10 ** decimals);
  return ((below % 2 ? below + 1 : below) / 10 ** decimals).toFixed(decimals);
}
function share(value) { return known(value) ? fixed(value, 3) : ""; }
function bracket(low, high) { return known(low) && known(high) ? `[${share(low)}, ${share(high)}]` : ""; }
function strength(value) { return known(value) ? String(Number(value.toPrecision(6))) : ""; }
function distance(value) {
  if (!known(value)) return "";
  if (value === 0) return "0";
  const decimals = 2 - Number(value.toExponential(2).split("e")[1]);
  if (decimals > 6) return value.toExponential(2).replace(/e-(\d)$/, "e-0$1");
  return decimals < 0 ? String(Math.round(value * 10 ** decimals) * 10 ** -decimals) : fixed(value, decimals);
}
