// How far the faces are from each other: each vertex's displacement against the first clip's, millimetres.

const TRIED = 40;
const CEILINGS = [0.5, 1, 2, 3, 5, 10, 15, 20, 30, 50, 100];

export class Heat {
  /** With one clip there is no other, and its displacement itself is shown. */
  constructor(clips, motions, array) {
    this.motions = motions;
    this.alone = clips.length === 1;
    this.comparable = clips.map((clip) => clip.topology === clips[0].topology);
    this.regions = clips.map((clip) =>
      Object.entries(clip.regions).map(([name, weights]) => ({ name: name.replaceAll("_", " "), weights: array(weights) })),
    );
    this.distances = motions.map((motion) => new Float32Array(motion.template.length / 3));
    this.values = motions.map((motion) => new Float32Array(motion.template.length / 3));
  }

  /** Millimetres at the red end: the first round number that the clips stay below, nearly everywhere. */
  get ceiling() {
    if (this.found) return this.found;
    const [first, ...others] = this.motions;
    const last = Math.max(...this.motions.map((motion) => motion.timeOf(motion.nFrames - 1)));
    const zero = new Float32Array(first.template.length), base = new Float32Array(first.template.length);
    const largest = [];
    for (let n = 0; n < TRIED; n++) {
      const time = (n / (TRIED - 1)) * last;
      first.displace(first.frameAt(time), base);
      if (this.alone) largest.push(farthest(base, zero));
      for (const [i, motion] of others.entries()) {
        if (!this.comparable[i + 1]) continue;
        const other = new Float32Array(base.length);
        motion.displace(motion.frameAt(time), other);
        largest.push(farthest(base, other));
      }
    }
    const high = largest.sort((a, b) => a - b)[Math.floor(0.9 * (largest.length - 1))] ?? 0;
    this.found = CEILINGS.find((ceiling) => ceiling >= high) ?? CEILINGS.at(-1);
    return this.found;
  }

  /** Distances of clip i's present frame from the first's, as (V,) shares of the ceiling. */
  update(i) {
    const mine = this.motions[i].displacement, base = this.motions[0].displacement;
    const distances = this.distances[i], values = this.values[i];
    const plain = !this.comparable[i];
    for (let v = 0, at = 0; v < distances.length; v++, at += 3) {
      const x = mine[at] - (this.alone || plain ? 0 : base[at]);
      const y = mine[at + 1] - (this.alone || plain ? 0 : base[at + 1]);
      const z = mine[at + 2] - (this.alone || plain ? 0 : base[at + 2]);
      distances[v] = plain ? 0 : 1e3 * Math.hypot(x, y, z);
      values[v] = distances[v] / this.ceiling;
    }
    return values;
  }

  /** Mean distance of clip i in each region, as text. */
  summary(i) {
    if (!this.comparable[i]) return "another topology: not comparable";
    const parts = this.regions[i].map(({ name, weights }) => {
      let sum = 0, total = 0;
      for (let v = 0; v < weights.length; v++) {
        sum += weights[v] * this.distances[i][v];
        total += weights[v];
      }
      return `${name} ${(sum / total).toFixed(1)}`;
    });
    return parts.length ? `${parts.join(" · ")} mm` : "";
  }
}

function farthest(a, b) {
  let most = 0;
  for (let i = 0; i < a.length; i += 3) most = Math.max(most, Math.hypot(a[i] - b[i], a[i + 1] - b[i + 1], a[i + 2] - b[i + 2]));
  return 1e3 * most;
}
