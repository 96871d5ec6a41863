#!/usr/bin/env bash
# One expects: wavefile reads a 32-bit float WAV whose header is WAVE_FORMAT_EXTENSIBLE as floats, like one with the short header.
# What happens: it looks at the format's tag alone (0xFFFE), not at the subformat behind it, and takes the bits for integers: 0.5 is
# 1056964608. toBitDepth("16") then scales those: 0.25 becomes 15999 instead of 8191, next to 16127 for 0.5.
# Why it matters: editors and recorders write this header for float and for more than two channels: speech becomes noise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund wavefile@11.0.0
cat > read.cjs <<'NODE'
const { WaveFile } = require('wavefile');
const { version } = require('wavefile/package.json');
const SAMPLES = [0, 0.25, 0.5, -0.5];

function wav(extensible) {
  const data = Buffer.from(new Float32Array(SAMPLES).buffer), format = Buffer.alloc(extensible ? 40 : 16);
  format.writeUInt16LE(extensible ? 0xfffe : 3, 0);
  format.writeUInt16LE(1, 2); // channels
  format.writeUInt32LE(16000, 4);
  format.writeUInt32LE(64000, 8); // bytes a second
  format.writeUInt16LE(4, 12); // bytes a frame
  format.writeUInt16LE(32, 14);
  if (extensible) {
    format.writeUInt16LE(22, 16);
    format.writeUInt16LE(32, 18); // valid bits
    format.writeUInt32LE(4, 20); // in the middle
    Buffer.from('0300000000001000800000aa00389b71', 'hex').copy(format, 24); // IEEE float
  }
  const chunk = (name, content) => {
    const head = Buffer.from(name + '    ', 'latin1').subarray(0, 8);
    head.writeUInt32LE(content.length, 4);
    return Buffer.concat([head, content]);
  };
  return new Uint8Array(chunk('RIFF', Buffer.concat([Buffer.from('WAVE'), chunk('fmt ', format), chunk('data', data)])));
}

const read = (extensible, bits) => {
  const file = new WaveFile(wav(extensible));
  if (bits) file.toBitDepth(bits);
  return Array.from(file.getSamples());
};
console.log(`wavefile ${version}, float samples ${SAMPLES.join(' ')}`);
console.log('short header:          ', read(false).join(' '), ' as 16 bits:', read(false, '16').join(' '));
console.log('WAVE_FORMAT_EXTENSIBLE:', read(true).join(' '), ' as 16 bits:', read(true, '16').join(' '));
if (String(read(false)) !== String(SAMPLES) || read(true)[2] !== 0x3f000000) throw Error('the behaviour has changed');
NODE
node read.cjs
