// Atoms that are drawn of a crystal: those of the repeated cell with the images on its far faces.

import { element } from "./element_colours.js";
import { add, cartesian, cross, dot, fractional, length, subtract } from "./vectors.js";

const ON_FACE = 1e-3; // of a cell vector
const BOND = { usual: 1.15, large: 1.1 }; // of the sum of the covalent radii
const LARGE = 1.9; // Å: atoms of larger radius are ringed by many at about one distance, which are drawn if they are close
const COORDINATED = 1.3; // of that sum, and of the distance of the nearest neighbour: for polyhedra

const DIFFERENT = 0.3; // Pauling: electronegativities of cation and anion

function wrapped(x) {
  const inside = x - Math.floor(x);
  return inside > 1 - ON_FACE ? inside - 1 : inside;
}

// [{ symbol, position, index }], index: of the atom in the cell. Molecules have no cell and stay as they are.
export function atomsShown(structure, repeat = 1) {
  const { cell, symbols, positions } = structure;
  if (!cell) return positions.map((position, index) => ({ symbol: symbols[index], position, index }));
  const atoms = [];
  positions.forEach((position, index) => {
    const frac = fractional(position, cell).map(wrapped);
    const steps = frac.map((x) => {
      const last = Math.floor(repeat + ON_FACE - x);
      return Array.from({ length: last + 1 }, (_, i) => x + i).filter((y) => y <= repeat + ON_FACE);
    });
    for (const x of steps[0])
      for (const y of steps[1])
        for (const z of steps[2]) atoms.push({ symbol: symbols[index], position: cartesian([x, y, z], cell), index });
  });
  return atoms;
}

// Between metals no bond is drawn where the crystal has other elements: contacts of cations are none.
export function bondRule(structure) {
  const symbols = [...new Set(structure.symbols)];
  const allMetals = symbols.every((symbol) => element(symbol).metal);
  const limits = new Map();
  for (const a of symbols)
    for (const b of symbols) {
      const [one, other] = [element(a), element(b)];
      const joined = allMetals || !(one.metal && other.metal);
      const factor = Math.max(one.radius, other.radius) > LARGE ? BOND.large : BOND.usual;
      limits.set(`${a} ${b}`, joined ? factor * (one.radius + other.radius) : 0);
    }
  return (a, b) => limits.get(`${a} ${b}`);
}

// Pairs of indices of atoms that are bonded.
export function bondsShown(structure, atoms) {
  if (!structure.cell && structure.bonds) return structure.bonds.map(([i, j, order]) => [i, j, order ?? 1]);
  const limit = bondRule(structure);
  const pairs = [];
  for (let i = 0; i < atoms.length; i += 1)
    for (let j = i + 1; j < atoms.length; j += 1) {
      const away = subtract(atoms[i].position, atoms[j].position);
      if (dot(away, away) < limit(atoms[i].symbol, atoms[j].symbol) ** 2) pairs.push([i, j, 1]);
    }
  return pairs;
}

// Corners [[x, y, z] × 8] and the twelve pairs of them that are edges.
export function cellCorners(cell, repeat = 1) {
  const steps = [0, repeat];
  return steps.flatMap((x) => steps.flatMap((y) => steps.map((z) => cartesian([x, y, z], cell))));
}

export const CELL_EDGES = [
  [0, 1], [0, 2], [0, 4], [1, 3], [1, 5], [2, 3], [2, 6], [3, 7], [4, 5], [4, 6], [5, 7], [6, 7],
];

// Elements, metals excepted, that attract electrons more than this one; none where an electronegativity is unknown.
function moreElectronegative(symbol, symbols) {
  const { electronegativity } = element(symbol);
  return new Set(symbols.filter((other) => !element(other).metal && element(other).electronegativity > (electronegativity ?? Infinity) + DIFFERENT));
}

// Positions of the neighbours that coordinate an atom, images in other cells included.
export function neighbours(structure, centre) {
  const { cell, symbols, positions } = structure;
  const around = moreElectronegative(centre.symbol, symbols);
  const limit = (symbol) => (around.has(symbol) ? COORDINATED * (element(centre.symbol).radius + element(symbol).radius) : 0);
  const longest = Math.max(...symbols.map(limit));
  const [a, b, c] = cell;
  const volume = Math.abs(dot(a, cross(b, c)));
  const heights = [cross(b, c), cross(c, a), cross(a, b)].map((area) => volume / length(area));
  const here = fractional(centre.position, cell);
  const found = [];
  positions.forEach((position, index) => {
    const frac = fractional(position, cell);
    const images = heights.map((height, axis) => {
      const reach = longest / height;
      const from = Math.ceil(here[axis] - reach - frac[axis]);
      const to = Math.floor(here[axis] + reach - frac[axis]);
      return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);
    });
    for (const x of images[0])
      for (const y of images[1])
        for (const z of images[2]) {
          const image = add(position, cartesian([x, y, z], cell));
          const distance = length(subtract(image, centre.position));
          if (distance > 0.1 && distance < limit(symbols[index])) found.push({ image, distance });
        }
  });
  const nearest = Math.min(...found.map(({ distance }) => distance));
  return found.filter(({ distance }) => distance < COORDINATED * nearest).map(({ image }) => image);
}

// Elements around which polyhedra make sense: those with more electronegative neighbours, the smallest first.
export function polyhedraCentres(structure) {
  if (!structure.cell) return [];
  const symbols = [...new Set(structure.symbols)];
  if (symbols.every((symbol) => element(symbol).metal)) return [];
  return symbols
    .filter((symbol) => moreElectronegative(symbol, symbols).size > 0)
    .sort((a, b) => element(a).radius - element(b).radius);
}
