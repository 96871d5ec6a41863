"""The slow way: the same model, but every frame encodes its sound from scratch and samples over the whole history.

This is how MeshTalk's release animates. It is here so that the speed-up is a ratio anyone can reproduce on any machine,
and its codes are compared with the fast way's: both must say the same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from meshtalk.audio.files import SAMPLE_RATE, frame_hops, n_frames
from meshtalk.audio.mel import MelFrontend
from meshtalk.config import HOP_RATE
from meshtalk.inference.animator import Animator
from meshtalk.model.audio_encoder import AudioEncoder
from meshtalk.model.networks import MeshTalk, gumbel_noise
from meshtalk.resample import Smoother


@torch.no_grad()
def animate_slowly(animator: Animator, samples: np.ndarray, seed: int) -> np.ndarray:
    """(S,) samples at 16 kHz → (T,V,3) metres, as `Animator.animate` with the same seed."""
    network, config = animator.network, animator.config
    assert isinstance(network, MeshTalk)
    geometry, prior = network.geometry, network.prior
    frontend = MelFrontend(config.audio.frontend)
    # the level follower is causal, so that its mel is the one thing which needs the whole past; it is 2 % of the time
    mel = np.pad(frontend.all(samples), ((network.audio.reach, network.audio.lookahead), (0, 0)),
                 constant_values=frontend.silence)  # fmt: skip
    frames = n_frames(len(samples), SAMPLE_RATE, config.fps)
    noise = gumbel_noise([seed], 0, (frames, config.heads, config.classes))
    template = geometry.template_input(torch.from_numpy(animator.checkpoint.template)[None])
    codes = torch.zeros(1, 0, config.heads, config.classes)
    heard, heard_by_prior = [], []
    for frame in range(frames):
        heard.append(_encode(network, network.audio, mel, config.fps, frame))
        heard_by_prior.append(_encode(network, network.prior_audio_encoder, mel, config.fps, frame))
        codes = torch.cat([codes, torch.zeros(1, 1, config.heads, config.classes)], 1)
        for head in range(config.heads):
            log_probs = prior(codes, torch.cat(heard_by_prior, 1))
            label = (log_probs[0, frame, head] + noise[0, frame, head]).argmax()
            codes[0, frame, head, label] = 1
    motion = network.decode(template, codes)
    if network.imagines:
        labels = network.labels(geometry.silence_mouth(motion), torch.cat(heard, 1))
        motion = network.decode(template, network.one_hot(labels))
    motion = Smoother(config.smoothing).finish(motion[0], None)
    displacement = geometry.to_displacement(motion, torch.from_numpy(animator.checkpoint.template))
    return displacement.numpy() + animator.checkpoint.template


def _encode(network: MeshTalk, encoder: AudioEncoder, mel: np.ndarray, fps, frame: int) -> Tensor:
    """(1,1,A) code of one frame from all the mel frames it sees."""
    hop = frame_hops(fps, frame, 1)
    first = int(frame * HOP_RATE / fps)
    window = mel[first : first + encoder.reach + encoder.lookahead + 1]
    features = network.extract(torch.from_numpy(window)[None])
    return encoder.at(features, hop - first)
