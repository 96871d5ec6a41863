// What comes between lips and lids: the opening of the mouth, cut into pieces that shine into it (render/mouth.py: let_in), and the rims of the lids.

import { table } from "./hair.js";

export class Lips {
  /** `opening` holds vertices of the lower and the upper lip in turn; null where they are not known. */
  constructor(opening, { along, upright }) {
    Object.assign(this, { opening, along, upright });
    this.pieces = opening ? (opening.length / 2 - 1) * along * upright : 0;
    this.texture = table(Math.max(this.pieces, 1), 2);
  }

  /** Cut the opening of a frame's vertices. */
  cut(positions) {
    const { opening, along, upright, texture } = this;
    if (!opening) return;
    const { data } = texture.image, row = 4 * this.pieces, corner = new Float64Array(12);
    let to = 0;
    for (let k = 0; k + 3 < opening.length; k += 2) {
      const [lower, upper, nextLower, nextUpper] = [0, 1, 2, 3].map((i) => 3 * opening[k + i]);
      for (let i = 0; i < along; i++) {
        for (let j = 0; j < upright; j++, to += 4) {
          for (let c = 0; c < 4; c++) {
            const u = (i + (c & 1)) / along, v = (j + (c >> 1)) / upright;
            for (let x = 0; x < 3; x++) {
              const right = (1 - v) * positions[lower + x] + v * positions[upper + x];
              const left = (1 - v) * positions[nextLower + x] + v * positions[nextUpper + x];
              corner[3 * c + x] = (1 - u) * right + u * left;
            }
          }
          let square = 0;
          for (let x = 0; x < 3; x++) {
            const y = (x + 1) % 3, z = (x + 2) % 3;
            data[to + x] = 0.25 * (corner[x] + corner[3 + x] + corner[6 + x] + corner[9 + x]);
            // half of the product of the diagonals
            const area = 0.5 * ((corner[9 + y] - corner[y]) * (corner[6 + z] - corner[3 + z])
              - (corner[9 + z] - corner[z]) * (corner[6 + y] - corner[3 + y]));
            data[row + to + x] = area;
            square += area * area;
          }
          data[to + 3] = Math.sqrt(square);
        }
      }
    }
    texture.needsUpdate = true;
  }
}

export class Lids {
  /** `edges` holds the two vertices of each edge of the rims in turn. */
  constructor(edges) {
    this.edges = edges;
    this.rims = edges.length / 2;
    this.texture = table(Math.max(this.rims, 1), 2);
  }

  /** Bring the rims to a frame's vertices. */
  move(positions) {
    const { edges, rims, texture } = this;
    for (let i = 0; i < edges.length; i++) {
      const to = 4 * ((i >> 1) + (i & 1) * rims);
      for (let x = 0; x < 3; x++) texture.image.data[to + x] = positions[3 * edges[i] + x];
    }
    texture.needsUpdate = true;
  }
}
