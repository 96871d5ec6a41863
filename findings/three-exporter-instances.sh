#!/usr/bin/env bash
# One expects: two heads that share a geometry but not their expression are exported by three's GLTFExporter as they look.
# What happens: the exporter writes one glTF mesh for a geometry and material, with the first head's weights, and no node weights:
# all others come back with the first one's expression. A clone() of a head is such a case.
# Why it matters: crowds, before-and-after pairs and rows of visemes are clones; the export is valid, and all faces are the same.
# What helps: mesh.geometry = mesh.geometry.clone() before export. (GLTFLoader reads node weights; so the file could hold them.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund three@0.187.0
cat > heads.mjs <<'NODE'
import { BufferGeometry, Float32BufferAttribute, Mesh, MeshStandardMaterial, REVISION, Scene } from 'three';
import { GLTFExporter } from 'three/addons/exporters/GLTFExporter.js';
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js';

globalThis.self = globalThis;
globalThis.ProgressEvent = Event; // for the loader
globalThis.FileReader = class { // Node has none, and the exporter uses it for its buffer
  async readAsDataURL(blob) {
    this.result = 'data:application/octet-stream;base64,' + Buffer.from(await blob.arrayBuffer()).toString('base64');
    this.onloadend();
  }
};
const rest = new Float32BufferAttribute([0, 0, 0, 1, 0, 0, 0, 1, 0], 3);
const geometry = new BufferGeometry().setAttribute('position', rest).setIndex([0, 1, 2]);
geometry.morphAttributes.position = [new Float32BufferAttribute([0, -1, 0, 0, -1, 0, 0, -1, 0], 3)];
geometry.morphTargetsRelative = true;
const calm = new Mesh(geometry, new MeshStandardMaterial()), shouting = calm.clone();
[calm.name, shouting.name] = ['calm', 'shouting'];
[calm.morphTargetInfluences[0], shouting.morphTargetInfluences[0]] = [0.1, 0.9];
const weights = async (document) => {
  const found = {};
  (await new GLTFLoader().parseAsync(JSON.stringify(document), '')).scene.traverse((thing) => {
    if (thing.isMesh) found[thing.name] = thing.morphTargetInfluences[0];
  });
  return found;
};
const document = await new GLTFExporter().parseAsync(new Scene().add(calm, shouting), { binary: false });
const exported = await weights(document);
for (const node of document.nodes) node.weights = [node.name === 'calm' ? 0.1 : 0.9];
const mended = await weights(document);
console.log(`three r${REVISION}, jawOpen of two heads`);
console.log('in the scene:                   ', JSON.stringify({ calm: 0.1, shouting: 0.9 }));
console.log('exported and loaded:            ', JSON.stringify(exported), `${document.meshes.length} mesh`);
console.log('with weights written to nodes:  ', JSON.stringify(mended));
if (exported.shouting !== 0.1 || mended.shouting !== 0.9) throw Error('the behaviour has changed');
NODE
node heads.mjs
