// The same lamps, skin, hair and mouth as in the pictures that Python draws (render/shading.py: light, shade), for every pixel.

import {
  BackSide, Color, DataTexture, DoubleSide, GLSL3, LinearFilter, LinearMipmapLinearFilter, Mesh, PlaneGeometry, RedFormat,
  RepeatWrapping, ShaderMaterial, Vector3,
} from "three";

/** Colours of the heat map from no difference to the largest, sRGB. */
export const RAMP = ["#7c8791", "#5b86bd", "#4aa8a5", "#7fc66a", "#f2d64b", "#f28c38", "#d6293e"];

/** What is lit through lips or between lids: values of the attribute `within`. */
export const MOUTH = 1, EYE = 2;
const TAPS = 16, GRAINS = 256;

const TONE = `
  // a soft shoulder instead of clipped highlights, then sRGB
  vec3 toned(vec3 linear) {
    vec3 over = max(linear - 0.72, 0.0);
    linear = min(linear, 0.72) + 0.28 * over / (over + 0.28);
    return mix(1.055 * pow(linear, vec3(1.0 / 2.4)) - 0.055, linear * 12.92, step(linear, vec3(0.0031308)));
  }`;

const LIGHT = `
  uniform vec3 lampTowards[LAMPS], lampColour[LAMPS], sky, ground, wrap, bleed, thrown;

  /* What falls on a surface with normal n and what it mirrors to e by another normal. reach: share of the light that lids
     and lips leave; light thrown about in the mouth. */
  void light(
    vec3 n, vec3 mirror, vec3 e, vec2 open, vec2 shine, vec2 reach, float cornea, out vec3 received, out vec3 mirrored
  ) {
    float openSky = open.x * reach.x, openKey = open.y * reach.x * reach.x;
    float rest = 1.0 - max(dot(mirror, e), 0.0), gloss = shine.y;
    float strength = shine.x * (0.25 + 2.0 * rest * rest * rest * rest);
    vec3 skyBleed = bleed * openSky * (1.0 - openSky), keyBleed = bleed * openKey * (1.0 - openKey);
    received = reach.y * thrown * (sky + lampColour[0]) + mix(ground, sky, 0.5 + 0.5 * n.y) * (openSky + skyBleed);
    mirrored = vec3(0.0);
    for (int m = 0; m < LAMPS; m++) {
      vec3 l = lampTowards[m];
      if (l.z < 0.0 && reach.y > 0.0) continue; // no lamp behind the head shines into the mouth
      float lambert = dot(n, l), shadow = m == 0 ? openKey : openSky;
      received += max((lambert + wrap) / (1.0 + wrap), 0.0) * (shadow + (m == 0 ? keyBleed : skyBleed)) * lampColour[m];
      float cosine = max(dot(mirror, normalize(l + e)), 0.0);
      float flash = (1.0 - gloss) * strength * shadow * clamp(lambert * 5.0, 0.0, 1.0) * pow(cosine, 16.0);
      if (m == 0 && cosine * cosine > 0.88) {
        flash += 1.3 * (1.0 - gloss) * strength * openKey * pow(cosine, 32.0);
        // a lid that dims the eye does not yet cover the lamp
        float clear = clamp(2.1 * reach.x - 0.4, 0.0, 1.0);
        flash += (14.0 + 26.0 * cornea) * gloss * strength * open.y * clear * pow(cosine, 256.0);
      }
      mirrored += flash * lampColour[m];
    }
  }`;

const VERTEX = `
  in vec3 base;
  in vec2 open, shine;
#ifdef HAIR
  // ribbons lie in many layers: their pixels have to be cheap
  ${TONE}
  ${LIGHT}
  centroid out vec3 vColour; // beyond the edge of a narrow ribbon it would be far off
  uniform sampler2D carriers; // a row of places and a row of normals
  uniform float finestM, roundness; // a strip that is narrower would break up into dots
  in float width;
  in vec2 roots;
  in vec3 half_, facing;
  vec3 carrier(float i, int row) { return texelFetch(carriers, ivec2(int(i), row), 0).xyz; }
#else
  out vec3 vNormal, vPlace, vBase;
  out vec2 vOpen, vShine;
  uniform sampler2D lips; // of each piece of their opening: middle and size, area
  uniform sampler2D lids; // ends of the edges of their rims
  uniform int pieces, rims;
  uniform float soft, level, above, plain, shadeM, shade;
  in float yields, within, cornea, heat;
  centroid out vec2 vUv; // beyond the edge of a triangle may be another part of the picture
  out vec2 vReach;
  out float vHeat, vCornea, vYields;

  // render/mouth.py: let_in
  vec2 letIn(vec3 place, vec3 n) {
    float falling = 0.0, passing = 0.0, nearest = 1e9, before = 0.0;
    for (int p = 0; p < pieces; p++) {
      vec4 piece = texelFetch(lips, ivec2(p, 0), 0);
      vec3 away = piece.xyz - place;
      float outwards = dot(texelFetch(lips, ivec2(p, 1), 0).xyz, away);
      float square = dot(away, away) + 1e-12, far = sqrt(square);
      if (square < nearest) { nearest = square; before = -outwards / (piece.w + 1e-12); }
      if (outwards <= 0.0) continue;
      float share = outwards / (far * (3.14159265 * square + piece.w));
      passing += share;
      falling += share * clamp(level + above * away.y / far, 0.2, 1.0) * max((dot(n, away) / far + soft) / (1.0 + soft), 0.0);
    }
    float free = clamp((before - OUT_FROM) / (OUT_TO - OUT_FROM), 0.0, 1.0);
    falling = mix(min(1.25 * falling, 1.0), clamp(level + above * n.y, 0.2, 1.0), free);
    return vec2(falling * (2.0 - falling), mix(min(passing, 1.0), 1.0, free));
  }

  // render/kernels.py: shelter, of the eyes alone: how much of a disc before a vertex lies beyond the lids' rims as they are seen
  float covered(vec3 place) {
    vec3 eye = (viewMatrix * modelMatrix * vec4(place, 1.0)).xyz;
    vec2 taps[TAPS];
    bool within[TAPS];
    for (int t = 0; t < TAPS; t++) {
      float far = sqrt((float(t) + 0.5) / float(TAPS)), turn = 2.4 * float(t);
      taps[t] = eye.xy + shadeM * (far * vec2(cos(turn), sin(turn)) + vec2(0.0, FROM_ABOVE));
      within[t] = false;
    }
    for (int r = 0; r < rims; r++) {
      vec3 a = (viewMatrix * modelMatrix * vec4(texelFetch(lids, ivec2(r, 0), 0).xyz, 1.0)).xyz;
      vec3 b = (viewMatrix * modelMatrix * vec4(texelFetch(lids, ivec2(r, 1), 0).xyz, 1.0)).xyz;
      a *= eye.z / a.z; b *= eye.z / b.z;
      if (max(a.x, b.x) < eye.x - shadeM || min(a.x, b.x) > eye.x + shadeM) continue;
      for (int t = 0; t < TAPS; t++) {
        vec2 p = taps[t];
        // upwards of it
        if ((a.x > p.x) != (b.x > p.x) && a.y + (b.y - a.y) * (p.x - a.x) / (b.x - a.x) > p.y) within[t] = !within[t];
      }
    }
    float outside = 0.0;
    for (int t = 0; t < TAPS; t++) outside += within[t] ? 0.0 : 1.0;
    return outside / float(TAPS);
  }
#endif
  void main() {
#ifdef HAIR
    // render/kernels.py: grow
    vec3 a = carrier(roots.x, 0), b = carrier(roots.y, 0), along = normalize(b - a);
    vec3 up = carrier(roots.x, 1) + carrier(roots.y, 1);
    up = normalize(up - dot(up, along) * along);
    mat3 axes = mat3(along, up, cross(along, up));
    vec3 place = (modelMatrix * vec4(0.5 * (a + b) + axes * (position + max(1.0, finestM / width) * half_), 1.0)).xyz;
    vec3 n = axes * normalize(facing + roundness * half_ / max(length(half_), 1e-9)), received, mirrored;
    light(n, n, normalize(cameraPosition - place), open, shine, vec2(1.0, 0.0), 0.0, received, mirrored);
    vColour = toned(base * received + mirrored);
    gl_Position = projectionMatrix * viewMatrix * vec4(place, 1.0);
#else
    vNormal = normal; vUv = uv; vHeat = heat; vCornea = cornea; vYields = yields; vBase = base; vOpen = open; vShine = shine;
    vReach = vec2(1.0, 0.0);
    if (plain < 0.5 && within == float(MOUTH)) vReach = letIn(position, normal);
    if (plain < 0.5 && within == float(EYE) && rims > 0) vReach.x = 1.0 - shade * covered(position);
    vPlace = (modelMatrix * vec4(position, 1.0)).xyz;
    vec4 seen = viewMatrix * vec4(vPlace, 1.0);
    gl_Position = projectionMatrix * seen;
    // what lies in the head hides a little behind lids and lips, through which it would come in an extreme pose
    vec4 deeper = projectionMatrix * (seen - vec4(0.0, 0.0, yields, 0.0));
    gl_Position.z = deeper.z * gl_Position.w / deeper.w;
#endif
  }`;

const FRAGMENT = `
  out vec4 colour;
#ifdef HAIR
  centroid in vec3 vColour;
  void main() { colour = vec4(vColour, 1.0); }
#else
  ${TONE}
  ${LIGHT}
  in vec3 vNormal, vPlace, vBase;
  in vec2 vOpen, vShine;
  uniform vec3 ramp[STOPS], gaze[2];
  uniform float dim, heated, wired, bulge, hollow, sheen, uneven;
  uniform sampler2D skin, grain;
  centroid in vec2 vUv;
  in vec2 vReach;
  in float vHeat, vCornea, vYields;

  vec3 ramped(float x) {
    float at = clamp(x, 0.0, 1.0) * float(STOPS - 1);
    vec3 found = ramp[0];
    for (int k = 1; k < STOPS; k++) found = mix(found, ramp[k], clamp(at - float(k - 1), 0.0, 1.0));
    return found;
  }
  void main() {
    vec3 n = normalize(vNormal), e = normalize(cameraPosition - vPlace), received, mirrored;
    float cornea = abs(vCornea);
    // seen edge on, depths between a triangle's ends are a matter of rounding: walls of the mouth would come through the cheeks as specks
    if (vYields > 0.0 && abs(dot(normalize(cross(dFdx(vPlace), dFdy(vPlace))), e)) < 0.06) discard;
    vec3 axis = vCornea > 0.0 ? gaze[0] : gaze[1], aside = cornea * (n - dot(n, axis) * axis);
    vec3 mirror = normalize(n + bulge * aside); // more strongly curved than the eyeball
    n = normalize(n - hollow * aside); // the side of the iris away from the light is the bright one
    light(n, mirror, e, vOpen, vShine, vReach, cornea, received, mirrored);
    vec4 texel = texture(skin, vUv);
    vec3 own = vBase * texel.rgb;
    own = mix(own, vec3(dot(own, vec3(0.2, 0.7, 0.1))) * 0.25 + 0.03, wired);
    own = mix(own, ramped(vHeat), heated);
    float pores = clamp(1.0 + 4.0 * uneven * (texture(grain, vUv * vec2(textureSize(skin, 0)) / float(GRAINS)).r - 0.5), 0.2, 2.0);
    vec3 linear = own * received + sheen * texel.a * pores * mirrored * (1.0 - 0.8 * heated);
    colour = vec4(toned(gl_FrontFacing ? linear : linear * dim), 1.0);
  }
#endif`;

/** What breaks up the sheen of skin, of two texels' size (scene.pores in Python): the same on every page. */
function grain() {
  const values = new Uint8Array(GRAINS * GRAINS), count = values.length;
  let state = 5;
  for (let i = 0; i < count; i++) values[i] = (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
  for (const step of [1, GRAINS]) {
    const before = values.slice();
    for (let i = 0; i < count; i++) values[i] = (before[i] + before[(i + step) % count]) / 2;
  }
  const texture = new DataTexture(values, GRAINS, GRAINS, RedFormat);
  texture.wrapS = texture.wrapT = RepeatWrapping;
  texture.magFilter = LinearFilter;
  texture.minFilter = LinearMipmapLinearFilter;
  texture.generateMipmaps = texture.needsUpdate = true;
  return texture;
}
const GRAIN = grain();

/** Uniforms that hair and skin share; `light` is the manifest's. */
function lamps(light) {
  const vector = (values) => ({ value: new Vector3(...values) });
  return {
    lampTowards: { value: light.lamps.map(({ towards }) => new Vector3(...towards).normalize()) },
    lampColour: { value: light.lamps.map(({ colour }) => new Vector3(...colour)) },
    sky: vector(light.sky), ground: vector(light.ground), wrap: vector(light.wrap), bleed: vector(light.bleed),
    thrown: vector(light.thrown),
  };
}

function material(light, defines, uniforms, more) {
  return new ShaderMaterial({
    glslVersion: GLSL3, vertexShader: VERTEX, fragmentShader: FRAGMENT,
    defines: { LAMPS: light.lamps.length, STOPS: RAMP.length, ...defines },
    uniforms: { ...lamps(light), ...uniforms },
    ...more,
  });
}

/**
 * The surface of a face, seen from outside and from inside; `skin` is a texture.
 * The inside is drawn a little farther away, or it would shine through along outlines.
 */
export function surface(light, skin, lips, lids) {
  const { soft, level, above, out: [OUT_FROM, OUT_TO] } = light.mouth;
  const values = {
    skin, lips: lips.texture, pieces: lips.pieces, lids: lids.texture, rims: lids.rims,
    soft, level, above, shadeM: light.lids.reach, shade: light.lids.share, plain: 0, heated: 0, wired: 0,
    gaze: [new Vector3(0, 0, 1), new Vector3(0, 0, 1)],
    ramp: RAMP.map((colour) => new Color(colour)),
    dim: light.inside, bulge: light.cornea, hollow: light.iris, sheen: skin.halved ? 2 : 1,
    grain: GRAIN, uneven: skin.halved ? light.pores : 0,
  };
  const defines = { TAPS, GRAINS, MOUTH, EYE, FROM_ABOVE: light.lids.above, OUT_FROM, OUT_TO };
  const outside = material(light, defines, Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { value }])));
  const inside = outside.clone();
  Object.assign(inside, { uniforms: outside.uniforms, side: BackSide });
  Object.assign(inside, { polygonOffset: true, polygonOffsetFactor: 2, polygonOffsetUnits: 4 });
  return [outside, inside];
}

/** Ribbons of hair, carried by what the texture `carriers` holds. */
export function hair(light, carriers) {
  const uniforms = { carriers: { value: carriers }, finestM: { value: 0 }, roundness: { value: light.round } };
  return material(light, { HAIR: 1 }, uniforms, { side: DoubleSide });
}

/** A soft pool of light behind the head, darker towards the corners: scene.backdrop in Python. */
export function backdrop(light) {
  const mesh = new Mesh(
    new PlaneGeometry(2, 2),
    new ShaderMaterial({
      glslVersion: GLSL3,
      vertexShader: "out vec2 at; void main() { at = uv; gl_Position = vec4(position.xy, 1.0, 1.0); }",
      fragmentShader: `
        ${TONE}
        in vec2 at;
        out vec4 colour;
        uniform vec3 brightest;
        uniform vec2 size; // over the longer side
        void main() {
          vec2 from = (at - vec2(0.5, 0.58)) * size;
          float away = min(dot(from, from) / 0.48, 1.0);
          colour = vec4(toned(brightest * (1.0 - 0.8 * away * (2.0 - away))), 1.0);
          // between two levels of 255 a pattern of both, so that there are no bands
          ivec2 p = ivec2(gl_FragCoord.xy) & 7;
          int mixed = p.x ^ p.y, rank = 0;
          for (int k = 0; k < 3; k++) rank |= (((mixed >> k) & 1) << (5 - 2 * k)) | (((p.y >> k) & 1) << (4 - 2 * k));
          colour.rgb += ((float(rank) + 0.5) / 64.0 - 0.5) / 255.0;
        }`,
      uniforms: { brightest: { value: new Vector3(...light.backdrop) }, size: { value: [1, 1] } },
      depthWrite: false,
    }),
  );
  mesh.renderOrder = 1; // where nothing else is
  return mesh;
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
