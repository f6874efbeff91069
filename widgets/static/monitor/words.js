/** Figures in words. */

export function count(number) {
  return Math.round(number).toLocaleString("en-US");
}

export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

export function times(number) {
  return number === 1 ? "once" : `${count(number)} times`;
}

export function bytes(number) {
  const [unit, size] = number >= 2 ** 30 ? ["GiB", 2 ** 30] : ["MiB", 2 ** 20];
  return `${(number / size).toFixed(number >= 100 * size ? 0 : 1)} ${unit}`;
}
