// What Python put into the page: see Payload in export/html_motion.py.

const TYPES = {
  i8: Int8Array, u8: Uint8Array, i16: Int16Array, u16: Uint16Array, u32: Uint32Array, f32: Float32Array,
};

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

/** The manifest of a base64 payload, and `array(reference)` for the typed arrays that it names. */
export async function readPayload(text) {
  const unzipped = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(unzipped).arrayBuffer();
  const size = new DataView(buffer).getUint32(0, true);
  const manifest = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  const start = 4 + Math.ceil(size / 4) * 4;
  const array = ({ type, at, length }) => new TYPES[type](buffer, start + at, length);
  return { manifest, array };
}
