#!/usr/bin/env bash
# One expects: gltfpack -noq (no quantisation) -af 0 (no resampling) keeps the weights of an animated face as they are.
# What happens: weights are still written as bytes from 0 to 1: what is below 0 or above 1 is cut, and the rest has 256 steps.
# Without -af 0, a 60 fps face is resampled to 30 by taking points, so a lip closure of one frame can vanish: 61 keys become 2.
# Why it matters: corrective and signed shapes (and jaws driven past 1) lose their motion; p, b and m lose their closure.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund gltfpack@1.3.0
cat > face.mjs <<'NODE'
import fs from 'node:fs';
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';

function write(name, fps, weights) {
  const arrays = [
    new Float32Array([0, 0, 0, 1, 0, 0, 0, 1, 0]), new Float32Array([0, -1, 0, 0, -1, 0, 0, -1, 0]), new Uint32Array([0, 1, 2]),
    Float32Array.from(weights, (_, k) => k / fps), Float32Array.from(weights),
  ];
  let at = 0;
  const bufferViews = arrays.map(({ byteLength }) => ({ buffer: 0, byteOffset: (at += byteLength) - byteLength, byteLength }));
  const blob = Buffer.concat(arrays.map((array) => Buffer.from(array.buffer)));
  const uri = 'data:application/octet-stream;base64,' + blob.toString('base64');
  const keys = ['SCALAR', 5126, weights.length], kinds = [['VEC3', 5126, 3], ['VEC3', 5126, 3], ['SCALAR', 5125, 3], keys, keys];
  const accessors = kinds.map(([type, componentType, count], bufferView) => ({ bufferView, type, componentType, count }));
  Object.assign(accessors[0], { min: [0, 0, 0], max: [1, 1, 0] });
  Object.assign(accessors[1], { min: [0, -1, 0], max: [0, -1, 0] });
  Object.assign(accessors[3], { min: [0], max: [arrays[3].at(-1)] });
  fs.writeFileSync(name, JSON.stringify({
    asset: { version: '2.0' }, scene: 0, scenes: [{ nodes: [0] }], nodes: [{ mesh: 0, name: 'face' }],
    meshes: [{ weights: [0], primitives: [{ attributes: { POSITION: 0 }, indices: 2, targets: [{ POSITION: 1 }] }] }],
    accessors, bufferViews, buffers: [{ byteLength: at, uri }],
    animations: [{ samplers: [{ input: 3, output: 4 }], channels: [{ sampler: 0, target: { node: 0, path: 'weights' } }] }],
  }));
}

function packed(...options) {
  execFileSync('npx', ['--no-install', 'gltfpack', '-i', 'face.gltf', '-o', 'packed.gltf', ...options]);
  const { accessors, bufferViews, buffers, animations } = JSON.parse(fs.readFileSync('packed.gltf'));
  const accessor = accessors[animations[0].samplers[0].output], view = bufferViews[accessor.bufferView];
  const data = fs.readFileSync(buffers[view.buffer].uri).subarray(view.byteOffset ?? 0, (view.byteOffset ?? 0) + view.byteLength);
  if (accessor.componentType !== 5121 || !accessor.normalized) return { bytes: false, weights: [] };
  return { bytes: true, weights: Array.from({ length: accessor.count }, (_, k) => data[k * (view.byteStride ?? 1)] / 255) };
}

console.log('gltfpack', createRequire(import.meta.url)('./node_modules/gltfpack/package.json').version);
const signed = [-0.5, 0, 0.502, 1, 1.3];
write('face.gltf', 30, signed);
const kept = packed('-noq', '-af', '0');
console.log('-noq -af 0: ', signed.join(' '), '->', kept.weights.map((weight) => weight.toFixed(3)).join(' '));
const closure = Array.from({ length: 61 }, (_, k) => (k === 31 ? 0 : 1));
write('face.gltf', 60, closure);
const resampled = packed('-noq');
console.log('-noq:', `${closure.length} keys at 60 fps, one of them 0, the others 1 ->`, resampled.weights.join(' '));
if (!kept.bytes || resampled.weights.includes(0)) throw Error('the behaviour has changed');
NODE
node face.mjs
