// The same lamps and skin as the pictures that Python draws (render/kernels.py: light, shade), for every pixel.

import { BackSide, Color, ShaderMaterial, Vector3 } from "three";

/** Colours of the heat map from no difference to the largest, sRGB. */
export const RAMP = ["#7c8791", "#5b86bd", "#4aa8a5", "#7fc66a", "#f2d64b", "#f28c38", "#d6293e"];

const VERTEX = `
  attribute vec3 base;
  attribute vec2 open;
  attribute vec2 shine;
  attribute float heat;
  varying vec3 vNormal, vPlace, vBase;
  varying vec2 vOpen, vShine, vUv;
  varying float vHeat;
  void main() {
    vNormal = normal; vPlace = (modelMatrix * vec4(position, 1.0)).xyz;
    vBase = base; vOpen = open; vShine = shine; vUv = uv; vHeat = heat;
    gl_Position = projectionMatrix * viewMatrix * vec4(vPlace, 1.0);
  }`;

const FRAGMENT = `
  uniform vec3 lampTowards[LAMPS], lampColour[LAMPS], sky, ground, wrap, bleed, ramp[STOPS];
  uniform float inside, heated, wired;
  uniform sampler2D skin;
  varying vec3 vNormal, vPlace, vBase;
  varying vec2 vOpen, vShine, vUv;
  varying float vHeat;

  vec3 ramped(float x) {
    float at = clamp(x, 0.0, 1.0) * float(STOPS - 1);
    vec3 colour = ramp[0];
    for (int k = 1; k < STOPS; k++) colour = mix(colour, ramp[k], clamp(at - float(k - 1), 0.0, 1.0));
    return colour;
  }

  void main() {
    vec3 n = normalize(vNormal), e = normalize(cameraPosition - vPlace);
    float rest = 1.0 - max(dot(n, e), 0.0);
    float strength = vShine.x * (0.25 + 2.0 * rest * rest * rest * rest);
    vec3 skyBleed = bleed * vOpen.x * (1.0 - vOpen.x), keyBleed = bleed * vOpen.y * (1.0 - vOpen.y);
    vec3 received = mix(ground, sky, 0.5 + 0.5 * n.y) * (vOpen.x + skyBleed), mirrored = vec3(0.0);
    for (int m = 0; m < LAMPS; m++) {
      vec3 l = lampTowards[m];
      float lambert = dot(n, l), shadow = m == 0 ? vOpen.y : vOpen.x;
      received += max((lambert + wrap) / (1.0 + wrap), 0.0) * (shadow + (m == 0 ? keyBleed : skyBleed)) * lampColour[m];
      float cosine = max(dot(n, normalize(l + e)), 0.0);
      float soft = (1.0 - vShine.y) * strength * shadow * clamp(lambert * 5.0, 0.0, 1.0) * pow(cosine, 16.0);
      float sharp = m == 0 ? 14.0 * vShine.y * strength * vOpen.y * pow(cosine, 256.0) : 0.0;
      mirrored += (soft + sharp) * lampColour[m];
    }
    vec3 own = vBase * texture2D(skin, vUv).rgb;
    own = mix(own, vec3(dot(own, vec3(0.2, 0.7, 0.1))) * 0.25 + 0.03, wired);
    own = mix(own, ramped(vHeat), heated);
    vec3 linear = own * received + mirrored * (1.0 - 0.8 * heated);
    if (!gl_FrontFacing) linear *= inside;
    // a soft shoulder instead of clipped highlights, then sRGB
    vec3 over = max(linear - 0.72, 0.0);
    linear = min(linear, 0.72) + 0.28 * over / (over + 0.28);
    vec3 srgb = mix(1.055 * pow(linear, vec3(1.0 / 2.4)) - 0.055, linear * 12.92, step(linear, vec3(0.0031308)));
    gl_FragColor = vec4(srgb, 1.0);
  }`;

/**
 * The surface of a face, seen from outside and from inside; `light` is the manifest's, `skin` a texture.
 * The inside is drawn a little farther away, or it would shine through along outlines.
 */
export function surface(light, skin) {
  const outside = new ShaderMaterial({
    vertexShader: VERTEX,
    fragmentShader: FRAGMENT,
    defines: { LAMPS: light.lamps.length, STOPS: RAMP.length },
    uniforms: {
      lampTowards: { value: light.lamps.map(({ towards }) => new Vector3(...towards).normalize()) },
      lampColour: { value: light.lamps.map(({ colour }) => new Vector3(...colour)) },
      sky: { value: new Vector3(...light.sky) },
      ground: { value: new Vector3(...light.ground) },
      wrap: { value: new Vector3(...light.wrap) },
      bleed: { value: new Vector3(...light.bleed) },
      ramp: { value: RAMP.map((colour) => new Color(colour)) },
      inside: { value: light.inside },
      heated: { value: 0 },
      wired: { value: 0 },
      skin: { value: skin },
    },
  });
  const inside = outside.clone();
  Object.assign(inside, { uniforms: outside.uniforms, side: BackSide });
  Object.assign(inside, { polygonOffset: true, polygonOffsetFactor: 2, polygonOffsetUnits: 4 });
  return [outside, inside];
}

/** Edges of the triangles, drawn a millimetre or so in front of them. */
export const WIRE = new ShaderMaterial({
  vertexShader: `
    void main() {
      gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
      gl_Position.z -= 2e-4 * gl_Position.w;
    }`,
  fragmentShader: "void main() { gl_FragColor = vec4(0.70, 0.85, 0.96, 0.38); }",
  wireframe: true,
  transparent: true,
});
