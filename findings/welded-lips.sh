#!/usr/bin/env bash
# One expects: tools that merge equal vertices of a mesh with morph targets merge those that are equal in every target too.
# What happens: three's mergeVertices and gltfpack do not look at the targets. Lips and lids that touch at rest become one
# vertex, which keeps one of the two movements: the mouth cannot open any more. glTF-Transform's weld keeps them apart.
# Why it matters: a face at rest has its lips closed, so this happens to the vertices that matter most, and looks right at rest.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund three@0.187.0 gltfpack@1.3.0 @gltf-transform/core@4.5.1 @gltf-transform/functions@4.5.1
cat > lips.mjs <<'NODE'
import { execFileSync } from 'node:child_process';
import { Document, NodeIO } from '@gltf-transform/core';
import { weld } from '@gltf-transform/functions';
import { BufferGeometry, Float32BufferAttribute, REVISION } from 'three';
import { mergeVertices } from 'three/addons/utils/BufferGeometryUtils.js';

// an upper lip (vertices 0 to 2) that stays, and a lower one (3 to 5) that jawOpen moves down; 0 and 3, 1 and 4 touch at rest
const REST = new Float32Array([0, 0, 0, 1, 0, 0, 0.5, 1, 0, 0, 0, 0, 1, 0, 0, 0.5, -1, 0]);
const OPEN = new Float32Array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -0.3, 0, 0, -0.3, 0, 0, -0.3, 0]);
const FACES = new Uint16Array([0, 1, 2, 3, 5, 4]);

// how far the lower lip's first corner is below the upper lip's with jawOpen at 1: the second triangle's against the first's
const gap = (y, moved, index) => y[index[0]] + moved[index[0]] - y[index[3]] - moved[index[3]];
const everyY = (array) => Array.from(array).filter((_, k) => k % 3 === 1);

function withThree() {
  const geometry = new BufferGeometry().setIndex(Array.from(FACES)).setAttribute('position', new Float32BufferAttribute(REST, 3));
  geometry.morphAttributes.position = [new Float32BufferAttribute(OPEN, 3)];
  geometry.morphTargetsRelative = true;
  const merged = mergeVertices(geometry);
  const rest = merged.attributes.position, moved = merged.morphAttributes.position[0];
  return [rest.count, gap(everyY(rest.array), everyY(moved.array), merged.index.array)];
}

async function withGltf(change) {
  const document = new Document(), buffer = document.createBuffer();
  const accessor = (array, type = 'VEC3') => document.createAccessor().setArray(array).setType(type).setBuffer(buffer);
  const target = document.createPrimitiveTarget('jawOpen').setAttribute('POSITION', accessor(OPEN));
  const primitive = document.createPrimitive().setAttribute('POSITION', accessor(REST)).addTarget(target);
  primitive.setIndices(accessor(FACES, 'SCALAR'));
  document.createScene().addChild(document.createNode().setMesh(document.createMesh().addPrimitive(primitive).setWeights([0])));
  const after = (await change(document)).getRoot().listMeshes()[0].listPrimitives()[0];
  const rest = after.getAttribute('POSITION'), moved = after.listTargets()[0].getAttribute('POSITION');
  return [rest.getCount(), gap(everyY(rest.getArray()), everyY(moved.getArray()), after.getIndices().getArray())];
}

const io = new NodeIO();
const found = {
  [`three r${REVISION} mergeVertices`]: withThree(),
  'gltfpack 1.3.0 -noq': await withGltf(async (document) => {
    await io.write('lips.glb', document);
    execFileSync('npx', ['--no-install', 'gltfpack', '-noq', '-kn', '-i', 'lips.glb', '-o', 'packed.glb']);
    return io.read('packed.glb');
  }),
  'glTF-Transform 4.5.1 weld': await withGltf((document) => document.transform(weld())),
};
for (const [name, [count, opened]] of Object.entries(found)) {
  console.log(`${name}: 6 vertices -> ${count}, the mouth opens by ${opened.toFixed(2)} of 0.30`);
}
const [three, packed, welded] = Object.values(found).map(([, opened]) => opened.toFixed(2));
if (three !== '0.00' || packed !== '0.00' || welded !== '0.30') throw Error('the behaviour has changed');
NODE
node lips.mjs
