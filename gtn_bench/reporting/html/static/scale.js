/* Axes: places of values, and where ticks go. */
function ticks(low, high, count) {
  if (!(high > low)) return [low];
  const rough = (high - low) / count, power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= rough * 0.999);
  const found = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high * (1 + 1e-9) + 1e-12; place++) found.push(Number((place * step).toPrecision(12)));
  return found;
}
function powers(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const factor of high / low > 1000 ? [1] : [1, 3]) {
      const value = Number((factor * Math.pow(10, power)).toPrecision(3));
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  return found.length ? found : [low, high];
}
function axis(low, high, start, end, logarithmic, spacing = 80) {
  const of = logarithmic ? Math.log10 : (value) => value;
  const span = of(high) - of(low) || 1;
  return {
    at: (value) => start + ((of(value) - of(low)) / span) * (end - start),
    ticks: logarithmic ? powers(low, high) : ticks(low, high, Math.max(2, Math.floor(Math.abs(end - start) / spacing))),
  };
}
