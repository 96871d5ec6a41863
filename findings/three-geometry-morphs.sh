#!/usr/bin/env bash
# One expects: three's geometry.scale(), rotateX() and applyMatrix4() turn and scale all that a geometry holds.
# What happens: positions and normals are changed, morph targets are not: a face in centimetres scaled by 0.01 keeps jaw movements
# of centimetres taken for metres, and after rotateX(-90°) its jaw opens forwards. toNonIndexed() drops the targets' names.
# Why it matters: such calls are how files of other units and axes are brought in; at rest the face is right.
# What helps: the same matrix without its translation on each morphAttributes.position, or the matrix on the Mesh.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund three@0.187.0
cat > face.mjs <<'NODE'
import { BufferGeometry, Float32BufferAttribute, Mesh, REVISION, Vector3 } from 'three';

function face() { // centimetres, +Z up: the chin is 10 down, jawOpen takes it 2 further
  const rest = new Float32BufferAttribute([0, 0, -10, 1, 0, 0, 0, 1, 0], 3);
  const geometry = new BufferGeometry().setAttribute('position', rest).setIndex([0, 1, 2]);
  const open = new Float32BufferAttribute([0, 0, -2, 0, 0, 0, 0, 0, 0], 3);
  open.name = 'jawOpen';
  geometry.morphAttributes.position = [open];
  geometry.morphTargetsRelative = true;
  return geometry;
}
const chin = (geometry, weight) => {
  const mesh = new Mesh(geometry);
  mesh.morphTargetInfluences[0] = weight;
  return mesh.getVertexPosition(0, new Vector3()).toArray().map((value) => value.toFixed(2)).join(' ');
};
const names = (geometry) => Object.keys(new Mesh(geometry).morphTargetDictionary).join();
const moved = face().rotateX(-Math.PI / 2).scale(0.01, 0.01, 0.01);
console.log(`three r${REVISION}; the chin at jawOpen = 0 and 1`);
console.log(`as made, centimetres, +Z up:          ${chin(face(), 0)}, ${chin(face(), 1)}`);
console.log(`rotated and scaled to metres, +Y up:  ${chin(moved, 0)}, ${chin(moved, 1)}; it should be 0.00 -0.12 0.00`);
console.log(`targets' names: ${names(face())}; after toNonIndexed(): ${names(face().toNonIndexed())}`);
const y = moved.attributes.position.getY(0);
if (Math.abs(y + 0.1) > 1e-6 || moved.morphAttributes.position[0].getZ(0) !== -2 || names(face().toNonIndexed()) === 'jawOpen') {
  throw Error('the behaviour has changed');
}
NODE
node face.mjs
