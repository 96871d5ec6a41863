#!/usr/bin/env bash
# One expects: glTF-Transform's clearNodeTransform (and transformMesh, transformPrimitive) leaves what a face shows as it is.
# What happens: morph targets, which glTF stores as differences, go through the whole matrix like positions: the node's translation
# is added to each difference. At rest all looks right; at jawOpen = 1 the face flies away by the translation.
# Why it matters: heads hang on nodes 1.6 m above the floor. Clearing those is the usual step before merging or export.
# What helps: do it for nodes that only turn and scale, or subtract the translation from the targets afterwards.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @gltf-transform/core@4.5.1 @gltf-transform/functions@4.5.1
cat > head.mjs <<'NODE'
import { Document, VERSION } from '@gltf-transform/core';
import { clearNodeTransform } from '@gltf-transform/functions';

const document = new Document(), buffer = document.createBuffer();
const accessor = (array) => document.createAccessor().setArray(new Float32Array(array)).setType('VEC3').setBuffer(buffer);
const open = accessor([0, -0.02, 0, 0, -0.02, 0, 0, -0.02, 0]);
const target = document.createPrimitiveTarget('jawOpen').setAttribute('POSITION', open);
const primitive = document.createPrimitive().setAttribute('POSITION', accessor([0, 0, 0, 0.1, 0, 0, 0, 0.1, 0])).addTarget(target);
const node = document.createNode('head').setMesh(document.createMesh().addPrimitive(primitive)).setTranslation([0, 1.6, 0]);
document.createScene().addChild(node);

// the first vertex's height in the world, for a weight of jawOpen
const height = (weight) => {
  const y = (attributes) => attributes.getAttribute('POSITION').getElement(0, [])[1];
  return (node.getWorldTranslation()[1] + y(primitive) + weight * y(target)).toFixed(2);
};
const before = [0, 0.5, 1].map(height);
clearNodeTransform(node);
const after = [0, 0.5, 1].map(height);
console.log(`glTF-Transform ${VERSION}; metres above the floor at jawOpen = 0, 0.5 and 1`);
console.log(`before: ${before.join(', ')}\nafter:  ${after.join(', ')}`);
if (before.join() !== '1.60,1.59,1.58' || after.join() !== '1.60,2.39,3.18') throw Error('the behaviour has changed');
NODE
node head.mjs
