// Ribbons of hair: brows and lashes go with the skin, locks of the scalp stay where the head is (render/hair.py).

import { BufferAttribute, BufferGeometry, DataTexture, FloatType, Mesh, RGBAFormat } from "three";
import { hair } from "./look.js";

/** A texture of numbers, RGBA, as rows. */
export function table(width, height) {
  const texture = new DataTexture(new Float32Array(4 * width * height), width, height, RGBAFormat, FloatType);
  texture.needsUpdate = true;
  return texture;
}

export class Hair {
  /**
   * `group` is the manifest's; `surface` gives openness (sky, key) of a vertex;
   * `stillM` is how far roots may move on average before the ribbons do, metres.
   */
  constructor(group, motion, openness, light, stillM, array) {
    Object.assign(this, { motion, stillM });
    const roots = array(group.roots), points = group.points, strips = roots.length / 2;
    this.carriers = [...new Set(roots)];
    const place = new Map(this.carriers.map((vertex, i) => [vertex, i]));
    this.texture = table(this.carriers.length, 2);
    const pairs = strips * points;
    const geometry = new BufferGeometry();
    const attribute = (name, size, value) => {
      const values = new Float32Array(2 * pairs * size);
      for (let i = 0; i < 2 * pairs; i++) for (let j = 0; j < size; j++) values[size * i + j] = value(i >> 1, j, i & 1);
      geometry.setAttribute(name, new BufferAttribute(values, size));
    };
    const steps = array(group.steps), halves = array(group.halves), facing = array(group.facing), colour = array(group.colour);
    const shine = array(group.shine), middles = new Float32Array(steps.length);
    for (let i = 0, sum = 0; i < steps.length; i++) {
      sum = i % points ? ((sum + steps[i]) << 16) >> 16 : steps[i];
      middles[i] = sum * group.stepM;
    }
    const strip = (pair) => Math.floor(pair / points);
    const widths = new Float32Array(strips);
    for (let i = 0; i < pairs; i++) {
      const half = Math.hypot(halves[i], halves[pairs + i], halves[2 * pairs + i]) * group.halfM;
      widths[strip(i)] = Math.max(widths[strip(i)], 2 * half);
    }
    attribute("position", 3, (pair, j) => middles[j * pairs + pair]);
    attribute("half_", 3, (pair, j, right) => (right ? 1 : -1) * halves[j * pairs + pair] * group.halfM);
    attribute("width", 1, (pair) => widths[strip(pair)]);
    attribute("facing", 3, (pair, j) => facing[j * pairs + pair] / 127);
    attribute("base", 3, (pair, j) => (colour[j * pairs + pair] / 255) * group.peaks[j]);
    attribute("roots", 2, (pair, j) => place.get(roots[2 * strip(pair) + j]));
    attribute("open", 2, (pair, j) => 0.4 + 0.6 * openness(roots[2 * strip(pair)], j));
    attribute("shine", 2, (pair, j) => (j ? 0 : shine[strip(pair)]));
    const corners = new Uint32Array(6 * strips * (points - 1));
    for (let s = 0, to = 0; s < strips; s++) {
      for (let k = 0; k + 1 < points; k++, to += 6) {
        const a = 2 * (s * points + k);
        corners.set([a, a + 1, a + 3, a, a + 3, a + 2], to);
      }
    }
    geometry.setIndex(new BufferAttribute(corners, 1));
    this.finestPx = light.finest;
    this.mesh = new Mesh(geometry, hair(light, this.texture));
    this.still = false;
  }

  /** Let the motion's present frame carry it. */
  carry() {
    const { carriers, motion, texture } = this;
    const still = farAway(carriers, motion) < this.stillM;
    if (still && this.still) return;
    this.still = still;
    const places = still ? motion.template : motion.positions, normals = still ? motion.normalsAtRest : motion.normals;
    const { data } = texture.image, row = 4 * carriers.length;
    for (let i = 0; i < carriers.length; i++) {
      for (let j = 0; j < 3; j++) {
        data[4 * i + j] = places[3 * carriers[i] + j];
        data[row + 4 * i + j] = normals[3 * carriers[i] + j];
      }
    }
    texture.needsUpdate = true;
  }

  /** Tell how many metres a pixel is. */
  scale(pixelM) {
    this.mesh.material.uniforms.finestM.value = this.finestPx * pixelM;
  }
}

/** Mean distance of vertices from the neutral face, metres. */
function farAway(vertices, { displacement }) {
  let sum = 0;
  for (const v of vertices) sum += Math.hypot(displacement[3 * v], displacement[3 * v + 1], displacement[3 * v + 2]);
  return sum / vertices.length;
}
