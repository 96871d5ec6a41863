// Sound above, lip opening below, on one axis of time; drag anywhere on it to scrub.

export const COLOURS = ["#ffb05c", "#5cc8ff", "#9adf8f", "#f29bc1", "#b9a6ff", "#ffe07a", "#7fe0d0", "#ff8f7a"];
const MISSING = -32768; // NO_OPENING of export/html.py
const CLOSURES = ["p", "b", "m"];
const INK = { faint: "#8796a3", line: "#2b333b", wave: "#5f7d93", band: "rgba(255, 120, 140, 0.13)", head: "#f2f5f7" };
const STEPS_S = [0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900];
const STEPS_MM = [1, 2, 5, 10, 20, 50];

export class Strip {
  constructor(box, curves, playhead, clips, array, duration) {
    Object.assign(this, { box, curves, playhead, clips, duration });
    this.openings = clips.map((clip) => clip.opening && array(clip.opening));
    this.samples = clips.map((clip) => clip.sound && array(clip.sound.samples));
    const all = this.openings.flatMap((opening) => (opening ? [extremes(opening)] : []));
    this.high = Math.max(4, ...all.map(([, high]) => high / 100));
    this.low = Math.min(0, ...all.map(([low]) => low / 100));
    this.heard = 0;
    this.hover = null;
    new ResizeObserver(() => this.resize()).observe(box);
  }

  /** Phones of what is heard: this clip's, or another's that has the same sound. */
  get phones() {
    const sound = JSON.stringify(this.clips[this.heard].sound);
    const same = this.clips.filter((clip) => clip.phones.length && JSON.stringify(clip.sound) === sound);
    return (same.find((clip) => clip === this.clips[this.heard]) ?? same[0])?.phones ?? [];
  }

  x(time) {
    return this.left + (time / this.duration) * (this.right - this.left);
  }

  timeAt(clientX) {
    const x = clientX - this.box.getBoundingClientRect().left;
    return Math.max(0, Math.min(1, (x - this.left) / (this.right - this.left))) * this.duration;
  }

  y(mm) {
    return this.floor - ((mm - this.low) / (this.high - this.low)) * (this.floor - this.ceiling);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!width || !height) return;
    const ratio = Math.min(window.devicePixelRatio, 2);
    for (const canvas of [this.curves, this.playhead]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.getContext("2d").setTransform(ratio, 0, 0, ratio, 0, 0);
    }
    const curves = this.openings.some((opening) => opening), heard = this.samples.some((samples) => samples);
    Object.assign(this, { width, height, left: 38, right: width - 14 });
    this.bottom = height - 20;
    this.top = this.clips.some((clip) => clip.phones.length) ? 20 : 8;
    this.middle = curves ? this.top + (heard ? 0.34 : 0) * (this.bottom - this.top) : this.bottom;
    this.ceiling = this.middle + 12;
    this.floor = this.bottom - 5;
    this.paint();
    this.mark(this.time ?? 0, this.frames ?? []);
  }

  /** Everything but the playhead. */
  paint() {
    if (!this.width) return;
    const c = this.curves.getContext("2d");
    c.clearRect(0, 0, this.width, this.height);
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "middle";
    for (const [name, start, end] of this.phones) {
      c.fillStyle = INK.band;
      if (CLOSURES.includes(name)) c.fillRect(this.x(start), 4, Math.max(this.x(end) - this.x(start), 1), this.bottom - 4);
    }
    this.ticks(c);
    this.wave(c);
    if (this.openings.some((opening) => opening)) this.scale(c);
    for (let i = this.openings.length - 1; i >= 0; i--) if (this.openings[i]) this.curve(c, i);
    this.names(c);
  }

  ticks(c) {
    const step = STEPS_S.find((s) => (s / this.duration) * (this.right - this.left) >= 64) ?? 3600;
    c.textAlign = "center";
    for (let k = 0; k * step <= this.duration + 1e-9; k++) {
      const x = Math.round(this.x(k * step)) + 0.5;
      c.fillStyle = INK.line;
      c.fillRect(x, 4, 1, this.bottom);
      c.fillStyle = INK.faint;
      if (x < this.right - 10) c.fillText(`${+(k * step).toFixed(2)} s`, x, this.height - 8);
    }
  }

  wave(c) {
    const samples = this.samples[this.heard];
    if (!samples) return;
    const { rate } = this.clips[this.heard].sound;
    const middle = (this.top + this.middle) / 2, half = (this.middle - this.top) / 2;
    const [lowest, highest] = extremes(samples), loudest = Math.max(highest, -lowest, 1);
    c.fillStyle = INK.wave;
    const perPixel = (this.duration * rate) / (this.right - this.left);
    for (let x = 0; x < this.right - this.left; x += 0.5) {
      const from = Math.floor(x * perPixel), to = Math.max(Math.floor((x + 0.5) * perPixel), from + 1);
      if (from >= samples.length) break;
      const [low, high] = extremes(samples.subarray(from, to));
      const top = middle - (half * high) / loudest, bottom = middle - (half * low) / loudest;
      c.fillRect(this.left + x, top, 0.5, Math.max(bottom - top, 0.75));
    }
  }

  scale(c) {
    const step = STEPS_MM.find((mm) => (mm / (this.high - this.low)) * (this.floor - this.ceiling) >= 20) ?? 100;
    c.textAlign = "right";
    for (let mm = 0; mm <= this.high; mm += step) {
      c.fillStyle = INK.line;
      c.fillRect(this.left, Math.round(this.y(mm)), this.right - this.left, 1);
      c.fillStyle = INK.faint;
      c.fillText(`${mm}`, this.left - 6, this.y(mm));
    }
    c.textAlign = "left";
    c.fillText("lip opening, mm", this.left + 6, this.ceiling - 2);
  }

  curve(c, i) {
    const opening = this.openings[i], [top, bottom] = this.clips[i].fps, rate = top / bottom;
    c.strokeStyle = COLOURS[i % COLOURS.length];
    c.lineWidth = i ? 1.5 : 2;
    c.lineJoin = "round";
    c.beginPath();
    let drawing = false;
    for (let k = 0; k < opening.length; k++) {
      if (opening[k] === MISSING) { drawing = false; continue; }
      const x = this.x(k / rate), y = this.y(opening[k] / 100);
      if (drawing) c.lineTo(x, y);
      else c.moveTo(x, y);
      drawing = true;
    }
    c.stroke();
  }

  names(c) {
    c.textAlign = "center";
    let free = 0;
    for (const [name, start, end] of this.phones) {
      const x = (this.x(start) + this.x(end)) / 2, half = c.measureText(name).width / 2;
      if (name === "pau" || x - half < free) continue;
      c.fillStyle = CLOSURES.includes(name) ? INK.head : INK.faint;
      c.fillText(name, x, 10);
      free = x + half + 3;
    }
  }

  /** The playhead, a dot on each curve, and the pointer's time. */
  mark(time, frames) {
    Object.assign(this, { time, frames });
    if (!this.width) return;
    const c = this.playhead.getContext("2d");
    c.clearRect(0, 0, this.width, this.height);
    c.font = "11px system-ui, sans-serif";
    c.textBaseline = "middle";
    if (this.hover !== null) {
      c.fillStyle = "rgba(242, 245, 247, 0.35)";
      c.fillRect(this.x(this.hover), 4, 1, this.bottom - 4);
      this.label(c, this.x(this.hover), this.height - 9, `${this.hover.toFixed(2)} s`, INK.head);
    }
    const x = this.x(time);
    c.fillStyle = INK.head;
    c.fillRect(x - 0.75, 4, 1.5, this.bottom - 4);
    c.beginPath();
    c.moveTo(x - 5, 0); c.lineTo(x + 5, 0); c.lineTo(x, 7);
    c.fill();
    for (let i = frames.length - 1; i >= 0; i--) {
      const value = this.openings[i]?.[frames[i]];
      if (value === undefined || value === MISSING) continue;
      c.fillStyle = COLOURS[i % COLOURS.length];
      c.beginPath();
      c.arc(x, this.y(value / 100), 4, 0, 2 * Math.PI);
      c.fill();
      if (frames.length === 1) this.label(c, x + (x > this.right - 70 ? -36 : 36), this.ceiling, `${(value / 100).toFixed(1)} mm`, c.fillStyle);
    }
  }

  label(c, x, y, text, colour) {
    const half = c.measureText(text).width / 2 + 5;
    x = Math.max(half, Math.min(this.width - half, x));
    y = Math.max(9, Math.min(this.height - 9, y));
    c.fillStyle = "rgba(16, 20, 24, 0.85)";
    c.beginPath();
    c.roundRect(x - half, y - 8, 2 * half, 16, 4);
    c.fill();
    c.fillStyle = colour;
    c.textAlign = "center";
    c.fillText(text, x, y);
  }
}

/** Least and largest of an array without its missing values. */
function extremes(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value === MISSING) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}
