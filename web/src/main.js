// The page: reads its data, draws whatever frame the sound is at, and tells scripts about it (window.meshtalk).

import { Clock } from "./clock.js";
import { Controls } from "./controls.js";
import { Heat } from "./heat.js";
import { RAMP } from "./look.js";
import { Motion } from "./motion.js";
import { readPayload } from "./payload.js";
import { Stage } from "./stage.js";
import { COLOURS, Strip } from "./strip.js";

const $ = (id) => document.getElementById(id);

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = false;
}

/** Without a sound card browsers complain, but still keep time: this does not stay in the way of the faces. */
function soundTrouble(text) {
  if (!$("trouble").hidden) return;
  trouble(text);
  setTimeout(() => ($("trouble").hidden = true), 8000);
}

/** A cell of the grid: the clip's name, its colour, whether it is heard, and how far it is from the first. */
function cell(clip, index, many, onHear) {
  const box = document.createElement("div");
  const label = document.createElement(many && clip.sound ? "button" : "p");
  label.className = "label";
  label.style.setProperty("--colour", COLOURS[index % COLOURS.length]);
  const name = document.createElement("span");
  name.textContent = clip.name;
  label.append(name);
  if (label.tagName === "BUTTON") {
    label.title = `Hear this sound (${index + 1})`;
    label.addEventListener("click", () => onHear(index));
  }
  label.hidden = !clip.name;
  const far = document.createElement("p");
  far.className = "far";
  far.hidden = true;
  box.append(label, far);
  return box;
}

function colourBar(heat, clips) {
  $("scale-title").textContent = heat.alone ? "mm from the neutral face" : `mm from ${clips[0].name || "the first"}`;
  $("scale-bar").style.background = `linear-gradient(to top, ${RAMP.join(", ")})`;
  $("scale-ticks").replaceChildren(
    ...[1, 0.8, 0.6, 0.4, 0.2, 0].map((share) => {
      const tick = document.createElement("li");
      tick.textContent = `${+(share * heat.ceiling).toFixed(2)}`;
      return tick;
    }),
  );
}

async function open() {
  const { manifest, array } = await readPayload($("payload").textContent.trim());
  const { clips } = manifest;
  $("sentence").textContent = manifest.sentence;
  $("sentence").hidden = !manifest.sentence;
  const duration = Math.max(...clips.map((clip) => clip.duration));
  const motions = clips.map((clip) => new Motion(clip, array));
  const heat = new Heat(clips, motions, array);

  // equal sounds are one array in the payload, so equal references
  const keys = clips.map((clip) => JSON.stringify(clip.sound));
  const different = [...new Set(keys)];
  const sounds = different.map((key) => JSON.parse(key)).map((sound) => sound && { ...sound, samples: array(sound.samples) });
  const clock = new Clock(sounds, duration, soundTrouble);
  const strip = new Strip($("strip"), $("curves"), $("playhead"), clips, array, duration);
  const shown = { wired: false, heated: false };
  let stale = false; // whether the heat map was switched since it was last computed
  let pointer = null;

  const hear = (index) => {
    if (!clips[index]?.sound) return;
    strip.heard = index;
    strip.paint();
    clock.hear(different.indexOf(keys[index]));
    controls.heard(index);
  };
  $("cells").append(...clips.map((clip, i) => cell(clip, i, different.length > 1, hear)));

  let stage = null;
  try {
    stage = new Stage($("stage"), $("faces"), $("cells"));
    await stage.open(clips, motions, manifest.light, array);
  } catch (error) {
    stage = null;
    trouble(`The faces cannot be drawn; does this browser have WebGL 2? (${error.message})`);
  }

  Object.assign(page, { clips, motions, clock, heat, duration, stage });
  const draw = () => {
    const time = clock.time;
    const frames = motions.map((motion) => motion.frameAt(time));
    const changed = motions.map((motion, i) => motion.show(frames[i]));
    for (const [i, face] of stage?.faces.entries() ?? []) {
      if (changed[i]) face.upload();
      if (shown.heated && (changed[i] || changed[0] || stale)) {
        face.warm(heat.update(i));
        const far = $("cells").children[i].querySelector(".far");
        far.textContent = i || heat.alone ? heat.summary(i) : "compared with";
        stage.dirty = true;
      }
      if (changed[i]) stage.dirty = true;
    }
    stale = false;
    stage?.draw();
    if (time !== page.drawn?.time || pointer !== strip.hover) strip.mark(time, frames);
    pointer = strip.hover;
    controls.tell(time, frames);
    page.drawn = { time, frames };
    requestAnimationFrame(draw);
  };

  const show = (changes) => {
    Object.assign(shown, changes);
    stale = true;
    if (shown.heated) colourBar(heat, clips);
    $("scale").hidden = !shown.heated;
    for (const far of document.querySelectorAll(".far")) far.hidden = !shown.heated;
    stage?.set(shown);
  };
  const controls = new Controls({ clock, strip, stage, clips, motions, show, hear });
  hear(Math.max(0, clips.findIndex((clip) => clip.sound)));
  draw();
}

const page = (window.meshtalk = {});
page.ready = open();
page.ready.catch((error) => trouble(`This page cannot be shown: ${error.message}`));
