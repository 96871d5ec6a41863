// The faces: one canvas over a grid of cells, one camera for all of them.

import {
  BufferAttribute, BufferGeometry, DataTexture, DynamicDrawUsage, LinearFilter, LinearMipmapLinearFilter, Mesh,
  PerspectiveCamera, Scene, SRGBColorSpace, Texture, WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { Hair } from "./hair.js";
import { backdrop, EYE, MOUTH, surface, WIRE } from "./look.js";
import { Lids, Lips } from "./openings.js";

/** Degrees to the face's left. */
export const VIEWS = { front: 0, quarter: 38, side: 82 };
const NARROWEST = { front: 0.86, quarter: 1.05, side: 1.05 }; // width / height of a cell that a face still fills from top to bottom

export class Stage {
  constructor(stage, canvas, cells) {
    this.canvas = canvas;
    this.cells = cells;
    this.renderer = new WebGLRenderer({ canvas, antialias: true });
    this.renderer.setScissorTest(true);
    this.camera = new PerspectiveCamera();
    this.controls = new OrbitControls(this.camera, stage);
    this.controls.enableDamping = true;
    this.controls.dampingFactor = 0.12;
    this.controls.addEventListener("change", () => (this.dirty = true));
    this.faces = [];
    new ResizeObserver(() => this.resize()).observe(stage);
  }

  /** Place the faces; the first one's portrait is the view of all. */
  async open(clips, motions, light, array) {
    const textures = new Map();
    for (const [i, clip] of clips.entries()) {
      const key = clip.texture?.at ?? -1;
      if (!textures.has(key)) textures.set(key, await this.texture(clip.texture && array(clip.texture), clip.look.raised));
      this.faces.push(new Face(clip, motions[i], textures.get(key), light, array));
    }
    this.portrait = clips[0].view;
    this.controls.minDistance = 0.3 * this.portrait.distance;
    this.controls.maxDistance = 3 * this.portrait.distance;
    this.look("front");
    this.resize();
  }

  /** `halved`: whether its alpha tells how strongly it mirrors, halved. */
  async texture(bytes, halved) {
    let texture = new DataTexture(new Uint8Array([255, 255, 255, 255]), 1, 1);
    if (bytes) {
      const asItIs = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
      texture = new Texture(await createImageBitmap(new Blob([bytes]), asItIs));
      texture.flipY = false;
      texture.colorSpace = SRGBColorSpace;
      texture.magFilter = LinearFilter;
      texture.minFilter = LinearMipmapLinearFilter;
      texture.anisotropy = Math.min(8, this.renderer.capabilities.getMaxAnisotropy());
    }
    texture.halved = Boolean(halved);
    texture.needsUpdate = true;
    return texture;
  }

  /** Turn the camera to one of VIEWS, at the portrait's distance. */
  look(view) {
    const angle = (VIEWS[view] * Math.PI) / 180;
    this.narrowest = NARROWEST[view];
    const { distance } = this.portrait;
    this.controls.target.set(0, 0, 0);
    this.camera.position.set(Math.sin(angle) * distance, 0, Math.cos(angle) * distance);
    this.controls.update();
    this.dirty = true;
  }

  set({ wired, heated }) {
    for (const face of this.faces) face.set(wired, heated);
    this.dirty = true;
  }

  /** Columns of the grid that give the largest faces in the space there is. */
  resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const count = Math.max(this.faces.length, 1);
    if (width === 0 || height === 0) return;
    const side = (columns) => Math.min(width / columns / NARROWEST.front, height / Math.ceil(count / columns));
    let columns = 1;
    for (let tried = 2; tried <= count; tried++) if (side(tried) > side(columns)) columns = tried;
    this.cells.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, 2));
    this.renderer.setSize(width, height, false);
    this.dirty = true;
  }

  /** Draw, if anything changed since the last time. */
  draw() {
    this.controls.update();
    if (!this.dirty || !this.portrait) return;
    this.dirty = false;
    const whole = this.canvas.getBoundingClientRect();
    for (const [i, face] of this.faces.entries()) {
      const cell = this.cells.children[i].getBoundingClientRect();
      const place = [cell.left - whole.left, whole.bottom - cell.bottom, cell.width, cell.height];
      this.camera.aspect = cell.width / cell.height;
      const narrow = Math.min(1, this.camera.aspect / this.narrowest);
      this.camera.fov = (360 / Math.PI) * Math.atan(this.portrait.slope / 2 / narrow);
      this.camera.near = 0.1 * this.portrait.distance;
      this.camera.far = 10 * this.portrait.distance;
      this.camera.updateProjectionMatrix();
      const longer = Math.max(cell.width, cell.height), dots = cell.height * this.renderer.getPixelRatio();
      face.scale([cell.width / longer, cell.height / longer], (this.camera.position.length() * this.portrait.slope) / narrow / dots);
      this.renderer.setViewport(...place);
      this.renderer.setScissor(...place);
      this.renderer.render(face.scene, this.camera);
    }
  }
}

/** One mesh in a scene of its own, moved so that what its portrait looks at is the origin. */
class Face {
  constructor(clip, motion, skin, light, array) {
    const { look } = clip;
    this.motion = motion;
    this.source = array(clip.source);
    const count = this.source.length;
    const geometry = new BufferGeometry();
    const attribute = (name, size, values = new Float32Array(size * count)) =>
      geometry.setAttribute(name, new BufferAttribute(values, size)).getAttribute(name);
    this.position = attribute("position", 3).setUsage(DynamicDrawUsage);
    this.normal = attribute("normal", 3).setUsage(DynamicDrawUsage);
    this.heat = attribute("heat", 1).setUsage(DynamicDrawUsage);
    attribute("uv", 2, clip.uvs ? array(clip.uvs) : undefined);
    const base = array(look.base), rest = array(look.rest), kinds = array(look.kinds), within = array(look.inside);
    const other = (v, k) => (rest[5 * v + k] / 127) * look.peaks[3 + k];
    const looks = {
      base: [3, (v, j) => (base[3 * v + j] / 32767) * look.peaks[j]],
      open: [2, (v, j) => other(v, j)],
      shine: [2, (v, j) => other(v, 2 + j)],
      cornea: [1, (v) => other(v, 4)],
      yields: [1, (v) => light.yields[kinds[v]]],
      within: [1, (v) => (within[v] ? MOUTH : kinds[v] === light.lids.kind ? EYE : 0)],
    };
    for (const [name, [size, value]] of Object.entries(looks)) {
      const { array: values } = attribute(name, size);
      for (let i = 0; i < count; i++) for (let j = 0; j < size; j++) values[size * i + j] = value(this.source[i], j);
    }
    geometry.setIndex(new BufferAttribute(array(clip.corners), 1));
    this.corneas = [1, -1].map((sign) => [...kinds.keys()].filter((v) => sign * rest[5 * v + 4] > 0));
    this.lips = new Lips(look.lips && array(look.lips), light.mouth);
    this.lids = new Lids(array(look.lids));
    const materials = surface(light, skin, this.lips, this.lids);
    this.uniforms = materials[0].uniforms;
    this.hair = [[look.brows, 0], [look.locks, light.still]]
      .filter(([group]) => group)
      .map(([group, stillM]) => new Hair(group, motion, other, light, stillM, array));
    this.wire = new Mesh(geometry, WIRE);
    this.backdrop = backdrop(light);
    this.scene = new Scene();
    const meshes = [...materials.map((material) => new Mesh(geometry, material)), ...this.hair.map(({ mesh }) => mesh), this.wire];
    for (const mesh of meshes) mesh.position.set(...clip.view.centre).negate();
    for (const mesh of [this.backdrop, ...meshes]) {
      mesh.frustumCulled = false;
      this.scene.add(mesh);
    }
    this.set(false, false);
  }

  /** Wires and colours are for the mesh, without hair and in even light. */
  set(wired, heated) {
    this.bare = wired || heated;
    this.wire.visible = wired;
    for (const { mesh } of this.hair) mesh.visible = !this.bare;
    this.uniforms.wired.value = wired ? 1 : 0;
    this.uniforms.heated.value = heated ? 1 : 0;
    this.uniforms.plain.value = this.bare ? 1 : 0;
    if (this.motion.frame >= 0) this.upload();
  }

  /** Tell the sides of the picture over the longer one, and how many metres a pixel is. */
  scale(size, pixelM) {
    this.backdrop.material.uniforms.size.value = size;
    for (const hair of this.hair) hair.scale(pixelM);
  }

  /** Hand the motion's present frame to the graphics card. */
  upload() {
    const { source, motion } = this;
    const positions = this.bare ? motion.positions : motion.covered, normals = this.bare ? motion.normals : motion.coveredNormals;
    for (let i = 0; i < source.length; i++) {
      const from = 3 * source[i], to = 3 * i;
      for (let j = 0; j < 3; j++) {
        this.position.array[to + j] = positions[from + j];
        this.normal.array[to + j] = normals[from + j];
      }
    }
    this.position.needsUpdate = this.normal.needsUpdate = true;
    this.lips.cut(motion.positions);
    this.lids.move(motion.positions);
    for (const hair of this.hair) hair.carry();
    for (const [eye, vertices] of this.corneas.entries()) {
      const axis = this.uniforms.gaze.value[eye].set(0, 0, 1e-9);
      for (const v of vertices) for (let j = 0; j < 3; j++) axis.setComponent(j, axis.getComponent(j) + normals[3 * v + j]);
      axis.normalize();
    }
  }

  /** Colour by (V,) values in [0,1]. */
  warm(values) {
    for (let i = 0; i < this.source.length; i++) this.heat.array[i] = values[this.source[i]];
    this.heat.needsUpdate = true;
  }
}
