// The convex hull of a few points in space, as flat faces with all their corners.

import { cross, dot, length, mean, scaled, subtract } from "./vectors.js";

// Corners of one face in the order in which they follow each other, seen from outside.
function aroundFace(points, corners, normal) {
  const middle = mean(corners.map((i) => points[i]));
  const first = subtract(points[corners[0]], middle);
  const second = cross(normal, first);
  const angle = (i) => Math.atan2(dot(subtract(points[i], middle), second), dot(subtract(points[i], middle), first));
  return [...corners].sort((i, j) => angle(i) - angle(j));
}

// Faces [{ corners: [index, …], normal: [x, y, z] }], normals pointing outwards; none where all points lie in a plane.
// Each triple of points is tried: made for the neighbours of an atom and the phases of a system, not for clouds.
export function convexHull(points, tolerance = 1e-2) {
  const faces = new Map();
  const n = points.length;
  for (let i = 0; i < n; i += 1)
    for (let j = i + 1; j < n; j += 1)
      for (let k = j + 1; k < n; k += 1) {
        const normal = cross(subtract(points[j], points[i]), subtract(points[k], points[i]));
        const size = length(normal);
        if (size < 1e-9) continue;
        const unit = scaled(normal, 1 / size);
        const heights = points.map((point) => dot(subtract(point, points[i]), unit));
        const above = heights.some((height) => height > tolerance);
        const below = heights.some((height) => height < -tolerance);
        if (above === below) continue; // both: it cuts through; neither: all points lie in this plane
        const corners = heights.flatMap((height, index) => (Math.abs(height) <= tolerance ? [index] : []));
        const outward = above ? scaled(unit, -1) : unit;
        const key = corners.join(",");
        if (!faces.has(key)) faces.set(key, { corners: aroundFace(points, corners, outward), normal: outward });
      }
  return [...faces.values()];
}

// Corners of each face as triangles that share its first corner.
export function triangles(face) {
  return face.corners.slice(1, -1).map((corner, i) => [face.corners[0], corner, face.corners[i + 2]]);
}

// Pairs of corners, each once.
export function edges(faces) {
  const pairs = new Map();
  for (const { corners } of faces)
    corners.forEach((corner, i) => {
      const next = corners[(i + 1) % corners.length];
      pairs.set([corner, next].sort((a, b) => a - b).join(","), [corner, next]);
    });
  return [...pairs.values()];
}
