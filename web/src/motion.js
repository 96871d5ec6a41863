// One clip's mesh at any frame, on the CPU: a few hundred thousand multiplications, half a millisecond.

/** From k/fps on, frame k is shown; players round times to microseconds, so that much comes early. */
const EARLY_S = 5e-4;

export class Motion {
  constructor(clip, array) {
    const { motion } = clip;
    this.nFrames = clip.nFrames;
    this.rate = clip.fps[0] / clip.fps[1];
    this.template = array(clip.template);
    this.faces = array(clip.faces);
    this.weights = motion.weights && array(motion.weights);
    this.shapeScale = array(motion.shapeScale);
    this.moves = array(motion.moves);
    if (this.weights) {
      this.weightScale = array(motion.weightScale);
      this.starts = array(motion.starts);
      this.rows = vertexNumbers(array(motion.gaps), this.starts);
    }
    this.frame = -1;
    this.displacement = new Float32Array(this.template.length);
    this.positions = new Float32Array(this.template.length);
    this.normals = new Float32Array(this.template.length);
    this.normalsAtRest = new Float32Array(this.template.length);
    vertexNormals(this.template, this.faces, this.normalsAtRest);
    this.scalp = clip.look.raised ? new Scalp(array(clip.look.raised), this.faces) : null;
    this.covered = this.scalp ? this.scalp.positions : this.positions;
    this.coveredNormals = this.scalp ? this.scalp.normals : this.normals;
  }

  frameAt(time) {
    return Math.max(0, Math.min(this.nFrames - 1, Math.floor((time + EARLY_S) * this.rate)));
  }

  timeOf(frame) {
    return frame / this.rate;
  }

  /** Write the displacement from the neutral face at a frame, metres, into `out`. */
  displace(frame, out) {
    const { weights, shapeScale, moves, rows, starts } = this;
    if (!weights) {
      const from = frame * out.length;
      for (let i = 0; i < out.length; i++) out[i] = moves[from + i] * shapeScale[frame];
      return;
    }
    out.fill(0);
    const count = shapeScale.length;
    for (let k = 0; k < count; k++) {
      const whole = weights[frame * count + k];
      if (whole === 0) continue;
      const factor = whole * this.weightScale[k] * shapeScale[k];
      for (let n = starts[k]; n < starts[k + 1]; n++) {
        const to = 3 * rows[n], from = 3 * n;
        out[to] += factor * moves[from];
        out[to + 1] += factor * moves[from + 1];
        out[to + 2] += factor * moves[from + 2];
      }
    }
  }

  /** Bring displacement, positions and normals to a frame; returns whether anything changed. */
  show(frame) {
    if (frame === this.frame) return false;
    this.frame = frame;
    this.displace(frame, this.displacement);
    for (let i = 0; i < this.positions.length; i++) this.positions[i] = this.template[i] + this.displacement[i];
    vertexNormals(this.positions, this.faces, this.normals);
    this.scalp?.raise(this.positions, this.normals);
    return true;
  }
}

/** The mesh as hair covers it: the scalp raised, and lit as it then stands. */
class Scalp {
  /** `raisedM` is how far each vertex is raised, metres. */
  constructor(raisedM, faces) {
    this.raisedM = raisedM;
    this.positions = new Float32Array(3 * raisedM.length);
    this.normals = new Float32Array(3 * raisedM.length);
    this.work = new Float32Array(3 * raisedM.length);
    this.raised = [...raisedM.keys()].filter((v) => raisedM[v] > 0);
    const turned = new Set(); // vertices of faces that are raised at a corner: other faces keep their normals
    const corners = [...Array(faces.length / 3).keys()].map((f) => faces.subarray(3 * f, 3 * f + 3));
    for (const face of corners) if (face.some((v) => raisedM[v] > 0)) for (const v of face) turned.add(v);
    this.turned = [...turned];
    this.faces = Uint32Array.from(corners.filter((face) => face.some((v) => turned.has(v))).flatMap((face) => [...face]));
  }

  raise(positions, normals) {
    this.positions.set(positions);
    this.normals.set(normals);
    for (const v of this.raised) {
      for (let i = 3 * v; i < 3 * v + 3; i++) this.positions[i] += this.raisedM[v] * normals[i];
    }
    vertexNormals(this.positions, this.faces, this.work);
    for (const v of this.turned) for (let i = 3 * v; i < 3 * v + 3; i++) this.normals[i] = this.work[i];
  }
}

/** Each shape's vertex numbers come as steps from one to the next, the first from 0. */
function vertexNumbers(gaps, starts) {
  const rows = new Uint32Array(gaps.length);
  for (let k = 0; k + 1 < starts.length; k++) {
    for (let n = starts[k], row = 0; n < starts[k + 1]; n++) rows[n] = row += gaps[n];
  }
  return rows;
}

/** Area-weighted unit normals. */
function vertexNormals(p, faces, out) {
  out.fill(0);
  for (let f = 0; f < faces.length; f += 3) {
    const a = 3 * faces[f], b = 3 * faces[f + 1], c = 3 * faces[f + 2];
    const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
    const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
    const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
    out[a] += x; out[a + 1] += y; out[a + 2] += z;
    out[b] += x; out[b + 1] += y; out[b + 2] += z;
    out[c] += x; out[c + 1] += y; out[c + 2] += z;
  }
  for (let i = 0; i < out.length; i += 3) {
    const scale = 1 / (Math.sqrt(out[i] * out[i] + out[i + 1] * out[i + 1] + out[i + 2] * out[i + 2]) || 1);
    out[i] *= scale; out[i + 1] *= scale; out[i + 2] *= scale;
  }
}
