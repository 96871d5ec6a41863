// Buttons and keys.

import { VIEWS } from "./stage.js";

const SPEEDS = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 2];
const $ = (id) => document.getElementById(id);

function clockText(seconds) {
  const hundredths = Math.floor(seconds * 100 + 0.05);
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(hundredths / 6000)}:${two(Math.floor(hundredths / 100) % 60)}.${two(hundredths % 100)}`;
}

export class Controls {
  constructor(parts) {
    Object.assign(this, parts);
    this.motion = this.motions.reduce((longest, motion) => (motion.nFrames / motion.rate > longest.nFrames / longest.rate ? motion : longest));
    const rates = [...new Set(this.clips.map(({ fps: [top, bottom] }) => +(top / bottom).toFixed(3)))];
    this.rates = `${rates.join(", ")} fps`;
    $("whole").textContent = ` / ${clockText(this.clock.duration)}`;
    $("strip").setAttribute("aria-valuemax", this.clock.duration.toFixed(2));
    this.silent = this.clips.every((clip) => !clip.sound);
    $("mute").hidden = this.silent;
    if (!this.stage) for (const id of [...Object.keys(VIEWS), "wire", "heat"]) $(id).disabled = true;
    $("speed").append(...SPEEDS.map((speed) => new Option(`${speed}×`, speed, speed === 1, speed === 1)));
    this.buttons();
    this.scrubbing();
    document.addEventListener("keydown", (event) => this.key(event));
  }

  buttons() {
    const actions = {
      play: () => this.toggle(),
      back: () => this.step(-1),
      forth: () => this.step(1),
      wire: () => this.wire(),
      heat: () => this.heat(),
      loop: () => this.loop(),
      mute: () => this.mute(),
      keys: () => $("help").showModal(),
      ...Object.fromEntries(Object.keys(VIEWS).map((view) => [view, () => this.view(view)])),
    };
    for (const [id, action] of Object.entries(actions)) {
      $(id).addEventListener("click", (event) => {
        action();
        if (event.detail > 0) $(id).blur(); // after the mouse, space means play again
      });
    }
    $("speed").addEventListener("change", () => this.speed(Number($("speed").value)));
  }

  scrubbing() {
    const strip = $("strip");
    let resume = null;
    strip.addEventListener("pointerdown", (event) => {
      strip.setPointerCapture(event.pointerId);
      resume = this.clock.playing;
      this.clock.pause();
      this.clock.seek(this.strip.timeAt(event.clientX));
    });
    strip.addEventListener("pointermove", (event) => {
      this.strip.hover = this.strip.timeAt(event.clientX);
      if (resume !== null) this.clock.seek(this.strip.hover);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      strip.addEventListener(end, () => {
        if (resume) this.clock.play();
        resume = null;
      });
    }
    strip.addEventListener("pointerleave", () => (this.strip.hover = null));
  }

  key(event) {
    const { target } = event;
    const chord = (event.ctrlKey || event.metaKey || event.altKey) && !event.getModifierState("AltGraph");
    if (chord || $("help").open) return;
    const own = { BUTTON: [" ", "Enter"], SELECT: [" ", "Enter", "ArrowLeft", "ArrowRight", "Home", "End"] }[target.tagName] ?? [];
    if (own.includes(event.key)) return;
    const sideways = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const actions = {
      " ": () => this.toggle(),
      k: () => this.toggle(),
      Home: () => this.clock.seek(0),
      End: () => this.clock.seek(this.motion.timeOf(this.motion.nFrames - 1)),
      "[": () => this.faster(-1),
      "]": () => this.faster(1),
      w: () => this.wire(),
      h: () => this.heat(),
      l: () => this.loop(),
      m: () => this.mute(),
      v: () => this.view(Object.keys(VIEWS)[(Object.keys(VIEWS).indexOf(this.seen ?? "front") + 1) % 3]),
      "?": () => $("help").showModal(),
    };
    const action = sideways
      ? () => (event.shiftKey ? this.clock.seek(this.clock.time + sideways) : this.step(sideways))
      : /^[1-9]$/.test(event.key)
        ? () => this.hear(Number(event.key) - 1)
        : actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  say(text) {
    $("said").textContent = text;
  }

  toggle() {
    if (this.clock.playing) this.clock.pause();
    else this.clock.play();
  }

  step(frames) {
    this.clock.pause();
    const frame = this.motion.frameAt(this.clock.time) + frames;
    this.clock.seek(this.motion.timeOf(Math.min(frame, this.motion.nFrames - 1)));
  }

  speed(value) {
    this.clock.set("playbackRate", value);
    $("speed").value = value;
    this.say(`${value} times the speed`);
  }

  faster(by) {
    const at = SPEEDS.indexOf(Number($("speed").value)) + by;
    this.speed(SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, at))]);
  }

  /** Turn a pressed button over; returns its new state. */
  press(id, what) {
    const pressed = $(id).getAttribute("aria-pressed") !== "true";
    $(id).setAttribute("aria-pressed", pressed);
    this.say(`${what} ${pressed ? "on" : "off"}`);
    return pressed;
  }

  wire() {
    this.show({ wired: this.press("wire", "wireframe") });
  }

  heat() {
    this.show({ heated: this.press("heat", "heat map") });
  }

  loop() {
    this.clock.set("loop", this.press("loop", "loop"));
  }

  mute() {
    if (!this.silent) this.clock.set("muted", this.press("mute", "mute"));
  }

  view(name) {
    this.seen = name;
    this.stage?.look(name);
    this.say(`view: ${name}`);
  }

  /** Mark the label of the clip that is heard. */
  heard(index) {
    for (const [i, label] of document.querySelectorAll("#cells .label").entries()) {
      if (label.tagName === "BUTTON") label.setAttribute("aria-pressed", i === index);
    }
  }

  /** Show where the clock is. */
  tell(time, frames) {
    const { playing } = this.clock;
    if (playing !== this.wasPlaying) {
      $("play").setAttribute("aria-label", playing ? "Pause" : "Play");
      $("play").title = playing ? "Pause (space)" : "Play (space)";
      document.body.classList.toggle("playing", playing);
      this.wasPlaying = playing;
    }
    if (time === this.told) return;
    this.told = time;
    const frame = frames[this.motions.indexOf(this.motion)];
    $("time").textContent = clockText(time);
    $("frame").textContent = `frame ${frame} of ${this.motion.nFrames} · ${this.rates}`;
    $("strip").setAttribute("aria-valuenow", time.toFixed(2));
    $("strip").setAttribute("aria-valuetext", `${time.toFixed(2)} seconds, frame ${frame}`);
  }
}
