// The faces: one canvas over a grid of cells, one camera for all of them.

import {
  BufferAttribute, BufferGeometry, DataTexture, DynamicDrawUsage, LinearFilter, LinearMipmapLinearFilter, Mesh,
  PerspectiveCamera, Scene, SRGBColorSpace, Texture, WebGLRenderer,
} from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import { surface, WIRE } from "./look.js";

/** Degrees to the face's left. */
export const VIEWS = { front: 0, quarter: 38, side: 82 };
const NARROWEST = { front: 0.86, quarter: 1.05, side: 1.05 }; // width / height of a cell that a face still fills from top to bottom

export class Stage {
  constructor(stage, canvas, cells) {
    this.canvas = canvas;
    this.cells = cells;
    this.renderer = new WebGLRenderer({ canvas, antialias: true, alpha: true });
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
      if (!textures.has(key)) textures.set(key, await this.texture(clip.texture && array(clip.texture)));
      this.faces.push(new Face(clip, motions[i], surface(light, textures.get(key)), array));
    }
    this.portrait = clips[0].view;
    this.controls.minDistance = 0.3 * this.portrait.distance;
    this.controls.maxDistance = 3 * this.portrait.distance;
    this.look("front");
    this.resize();
  }

  async texture(bytes) {
    let texture = new DataTexture(new Uint8Array([255, 255, 255, 255]), 1, 1);
    if (bytes) {
      texture = new Texture(await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none" }));
      texture.flipY = false;
      texture.colorSpace = SRGBColorSpace;
      texture.magFilter = LinearFilter;
      texture.minFilter = LinearMipmapLinearFilter;
      texture.anisotropy = Math.min(8, this.renderer.capabilities.getMaxAnisotropy());
    }
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
      this.renderer.setViewport(...place);
      this.renderer.setScissor(...place);
      this.renderer.render(face.scene, this.camera);
    }
  }
}

/** One mesh in a scene of its own, moved so that what its portrait looks at is the origin. */
class Face {
  constructor(clip, motion, materials, array) {
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
    const looks = array(clip.surface);
    for (const [name, from, size] of [["base", 0, 3], ["open", 3, 2], ["shine", 5, 2]]) {
      const { array: values } = attribute(name, size);
      for (let i = 0; i < count; i++) {
        for (let j = 0; j < size; j++) {
          values[size * i + j] = (looks[7 * this.source[i] + from + j] / 255) * clip.surfacePeaks[from + j];
        }
      }
    }
    geometry.setIndex(new BufferAttribute(array(clip.corners), 1));
    this.uniforms = materials[0].uniforms;
    this.wire = new Mesh(geometry, WIRE);
    this.scene = new Scene();
    for (const mesh of [...materials.map((material) => new Mesh(geometry, material)), this.wire]) {
      mesh.frustumCulled = false;
      mesh.position.set(...clip.view.centre).negate();
      this.scene.add(mesh);
    }
    this.set(false, false);
  }

  set(wired, heated) {
    this.wire.visible = wired;
    this.uniforms.wired.value = wired ? 1 : 0;
    this.uniforms.heated.value = heated ? 1 : 0;
  }

  /** Hand the motion's present frame to the graphics card. */
  upload() {
    const { positions, normals } = this.motion;
    const { source } = this;
    for (let i = 0; i < source.length; i++) {
      const from = 3 * source[i], to = 3 * i;
      for (let j = 0; j < 3; j++) {
        this.position.array[to + j] = positions[from + j];
        this.normal.array[to + j] = normals[from + j];
      }
    }
    this.position.needsUpdate = this.normal.needsUpdate = true;
  }

  /** Colour by (V,) values in [0,1]. */
  warm(values) {
    for (let i = 0; i < this.source.length; i++) this.heat.array[i] = values[this.source[i]];
    this.heat.needsUpdate = true;
  }
}
