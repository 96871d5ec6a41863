#!/usr/bin/env bash
# One expects: after Meyda.sampleRate = 16000, Meyda.extract gives the MFCCs and the loudness of sound at 16 kHz.
# What happens: both filter banks are made at the first extract and kept. Loudness follows once bufferSize has changed as well,
# MFCCs do not even then: they are those of the first rate as long as the page lives.
# Why it matters: pages that drive a mouth by MFCCs hear microphones at 48 kHz, files at 16 or 44.1; only the first is right.
# What helps: resampling to one rate (an OfflineAudioContext does), or another Meyda.melBands in between.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund meyda@5.6.3
cat > hear.cjs <<'NODE'
const Meyda = require('meyda');
const { version } = require('meyda/package.json');
const { execFileSync } = require('node:child_process');

const sound = Float32Array.from({ length: 512 }, (_, k) => Math.sin(0.3 * k) + 0.3 * Math.sin(1.1 * k));
function hear(sampleRate) {
  Meyda.bufferSize = sound.length;
  Meyda.sampleRate = sampleRate;
  const { mfcc, loudness } = Meyda.extract(['mfcc', 'loudness'], sound);
  return `MFCC ${mfcc.slice(0, 3).map((value) => value.toFixed(2)).join(' ')}, loudness ${loudness.total.toFixed(2)}`;
}
if (process.argv[2]) {
  process.stdout.write(hear(Number(process.argv[2])));
} else {
  const first = hear(44100), second = hear(16000);
  Meyda.bufferSize = 256;
  Meyda.extract(['mfcc', 'loudness'], sound.subarray(0, 256));
  const resized = hear(16000);
  const fresh = execFileSync('node', [__filename, '16000'], { encoding: 'utf8' });
  Meyda.melBands += 1;
  hear(16000);
  Meyda.melBands -= 1;
  const rebuilt = hear(16000);
  console.log(`meyda ${version}`);
  console.log(`44100:                         ${first}\nthen 16000:                    ${second}`);
  console.log(`16000 after another size:      ${resized}\n16000 after other melBands:    ${rebuilt}`);
  console.log(`16000 from the start:          ${fresh}`);
  const mfcc = (text) => text.split(',')[0];
  const kept = second === first && mfcc(resized) === mfcc(first) && mfcc(fresh) !== mfcc(first);
  if (!kept || rebuilt !== fresh) throw Error('the behaviour has changed');
}
NODE
node hear.cjs
