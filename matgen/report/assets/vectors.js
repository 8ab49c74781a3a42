// Vectors of three numbers; cells are row vectors, in Å.

export const add = (a, b) => a.map((x, i) => x + b[i]);
export const subtract = (a, b) => a.map((x, i) => x - b[i]);
export const scaled = (a, factor) => a.map((x) => x * factor);
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const length = (a) => Math.sqrt(dot(a, a));

export function cross(a, b) {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

// frac · cell
export function cartesian(frac, cell) {
  return [0, 1, 2].map((i) => frac[0] * cell[0][i] + frac[1] * cell[1][i] + frac[2] * cell[2][i]);
}

export function fractional(position, cell) {
  const [a, b, c] = cell;
  const volume = dot(a, cross(b, c));
  return [dot(position, cross(b, c)), dot(position, cross(c, a)), dot(position, cross(a, b))].map((x) => x / volume);
}

export function mean(points) {
  return scaled(points.reduce(add, [0, 0, 0]), 1 / points.length);
}
