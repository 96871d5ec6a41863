// Time is what the sound says. A silent clip has silence for its sound, so there is no second clock.

const SILENCE = { rate: 8000, samples: new Int16Array(0) };

/** A mono 16-bit WAV file of exactly `duration` seconds, as a blob. */
function wav({ rate, samples }, duration) {
  const count = Math.max(Math.round(duration * rate), 1);
  const file = new ArrayBuffer(44 + 2 * count);
  const view = new DataView(file);
  const word = (at, text) => [...text].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  word(0, "RIFF"); view.setUint32(4, 36 + 2 * count, true); word(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, rate, true); view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  word(36, "data"); view.setUint32(40, 2 * count, true);
  new Int16Array(file, 44).set(samples.subarray(0, count));
  return new Blob([file], { type: "audio/wav" });
}

/** One audio element for each different sound, all as long as the longest clip; one of them is heard. */
export class Clock {
  constructor(sounds, duration, onTrouble) {
    this.duration = duration;
    this.elements = sounds.map((sound) => {
      const element = new Audio(URL.createObjectURL(wav(sound ?? SILENCE, duration)));
      element.preload = "auto";
      element.preservesPitch = element.webkitPreservesPitch = true;
      element.addEventListener("error", () => onTrouble(`This browser cannot play the sound: ${element.error.message}`));
      return element;
    });
    this.heard = 0;
    this.onTrouble = onTrouble;
  }

  get audio() {
    return this.elements[this.heard];
  }

  get time() {
    return Math.min(this.audio.currentTime, this.duration);
  }

  get playing() {
    return !this.audio.paused;
  }

  play() {
    if (this.audio.ended) this.audio.currentTime = 0;
    return this.audio.play().catch((error) => {
      if (error.name !== "AbortError") this.onTrouble(`The sound does not start: ${error.message}`);
    });
  }

  pause() {
    this.audio.pause();
  }

  seek(time) {
    this.audio.currentTime = Math.max(0, Math.min(time, this.duration));
  }

  /** Go on with another sound, from the same time. */
  hear(index) {
    if (index === this.heard) return;
    const { time, playing } = this;
    this.pause();
    this.heard = index;
    this.seek(time);
    if (playing) this.play();
  }

  set(property, value) {
    for (const element of this.elements) element[property] = value;
  }
}
