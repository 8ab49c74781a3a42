// A structure in a viewer of 3Dmol: atoms, bonds, cell, polyhedra.

import { atomsShown, bondsShown, CELL_EDGES, cellCorners, neighbours } from "./crystal.js";
import { convexHull, edges, triangles } from "./convex_hull.js";
import { element, elementsOf } from "./element_colours.js";
import { drawnRadius } from "./sketch.js";
import { add, length, scaled } from "./vectors.js";

const BEYOND = 0.9; // Å from the end of a cell vector to its letter

const point = ([x, y, z]) => ({ x, y, z });

// A colour that the theme gives to an element, as #rrggbb.
export function hexColour(node, property) {
  const [red, green, blue] = getComputedStyle(node)[property].match(/\d+/g).map(Number);
  return `#${[red, green, blue].map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

function drawAtoms(viewer, structure, atoms, bonded) {
  const model = viewer.addModel();
  const rows = atoms.map(({ symbol, position, index }, serial) => ({
    elem: symbol, ...point(position), serial, index: serial, bonds: [], bondOrder: [], properties: { site: index },
  }));
  if (bonded)
    for (const [i, j, order] of bondsShown(structure, atoms)) {
      rows[i].bonds.push(j);
      rows[i].bondOrder.push(order);
      rows[j].bonds.push(i);
      rows[j].bondOrder.push(order);
    }
  model.addAtoms(rows);
  const molecule = !structure.cell;
  for (const symbol of elementsOf(structure)) {
    const color = element(symbol).colour;
    const sphere = { radius: drawnRadius(symbol, molecule), color };
    model.setStyle({ elem: symbol }, bonded ? { sphere, stick: { radius: molecule ? 0.14 : 0.09, color } } : { sphere });
  }
}

function drawCell(viewer, cell, repeat) {
  const color = hexColour(viewer.getCanvas(), "color");
  const boxes = repeat > 1 ? [1, repeat] : [1];
  for (const size of boxes) {
    const corners = cellCorners(cell, size);
    const shape = viewer.addShape({ color });
    for (const [i, j] of CELL_EDGES)
      shape.addCylinder({ start: point(corners[i]), end: point(corners[j]), radius: size === 1 ? 0.035 : 0.02, color });
  }
  ["a", "b", "c"].forEach((name, axis) => {
    const place = scaled(cell[axis], 1 + BEYOND / length(cell[axis]));
    const style = { position: point(place), fontSize: 15, bold: true, fontColor: color, showBackground: false, inFront: true };
    viewer.addLabel(name, { ...style, alignment: "center" });
  });
}

// The polyhedra of one element as one mesh with its edges.
function drawPolyhedra(viewer, structure, atoms, symbol) {
  const { colour } = element(symbol);
  const [vertexArr, normalArr, faceArr] = [[], [], []];
  const outline = viewer.addShape({ color: colour });
  const seen = new Map();
  for (const atom of atoms.filter((each) => each.symbol === symbol)) {
    if (!seen.has(atom.index)) {
      const around = neighbours(structure, atom);
      seen.set(atom.index, around.map((corner) => add(corner, scaled(atom.position, -1))));
    }
    const corners = seen.get(atom.index).map((offset) => add(atom.position, offset));
    if (corners.length < 4) continue;
    const faces = convexHull(corners);
    for (const face of faces)
      for (const triangle of triangles(face)) {
        faceArr.push(vertexArr.length, vertexArr.length + 1, vertexArr.length + 2);
        for (const corner of triangle) {
          vertexArr.push(point(corners[corner]));
          normalArr.push(point(face.normal));
        }
      }
    for (const [i, j] of edges(faces))
      outline.addCylinder({ start: point(corners[i]), end: point(corners[j]), radius: 0.03, color: colour });
  }
  if (faceArr.length) viewer.addCustom({ vertexArr, normalArr, faceArr, color: colour, opacity: 0.5, side: 2 });
  return faceArr.length > 0;
}

// options: { repeat, bonds, cell, polyhedra (symbol or "") }; returns how many atoms are drawn.
export function drawScene(viewer, structure, options) {
  viewer.removeAllModels();
  viewer.removeAllShapes();
  viewer.removeAllLabels();
  const atoms = atomsShown(structure, options.repeat);
  drawAtoms(viewer, structure, atoms, options.bonds);
  if (structure.cell && options.cell) drawCell(viewer, structure.cell, options.repeat);
  if (structure.cell && options.polyhedra) drawPolyhedra(viewer, structure, atoms, options.polyhedra);
  return atoms.length;
}
