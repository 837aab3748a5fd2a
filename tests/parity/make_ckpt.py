# ruff: noqa - numbers in formula order, one tensor a line; every byte of its output is checked by sha256
# pyright: basic
"""Deterministic random checkpoints in the LDM single-file layout (SD 1.x key names), for testing only.

usage: make_ckpt.py tiny|sd15 --out DIR
Needs numpy and safetensors.  Every tensor is drawn from
numpy.random.default_rng([seed, crc32(key)]), so no ordering or torch-version dependence.

tiny: SD-1 shaped (channel_mult 1,2,4,4, 2 res blocks, 8 heads, 4 latent channels), model_channels 64,
context_dim 64, CLIP text model 64 wide x 4 layers x 4 heads, VAE ch 32.  On top of the random weights some
channels carry a hand-made linear path, so that
  * the VAE encoder gives (luma, R-B, G-(R+B)/2, random) block means, about unit scale after *0.18215;
    the decoder shows them again, each color channel normalized (mean 0, std ~0.45), + faint random texture;
  * the UNet's eps = A_lp(t)*lowpass(x_in) + A_hp(t)*highpass(x_in) (zero-mean per channel, clamped Wiener gains)
    + a random, prompt- and timestep-dependent part of std ~0.1.
So txt2img gives colored smooth blobs and img2img resembles its source.
sd15: the real SD 1.5 shapes, all random, final conv scaled so that eps has std ~0.5.
"""

import argparse, json, math, os, sys, zlib
import numpy as np


def rng(key, seed=1234):
    return np.random.default_rng([seed, zlib.crc32(key.encode())])


class SD(dict):
    def __init__(self, dtype=np.float16):
        super().__init__()
        self.dt = dtype

    def put(self, k, a):
        assert k not in self, k
        self[k] = np.ascontiguousarray(a).astype(self.dt)

    def w(self, k, shape, gain=1.0):
        fan = int(np.prod(shape[1:]))
        self.put(
            k + ".weight",
            rng(k + ".weight").standard_normal(shape, dtype=np.float32) * np.float32(gain / math.sqrt(fan)),
        )

    def b(self, k, n, s=0.05):
        self.put(k + ".bias", rng(k + ".bias").standard_normal((n,), dtype=np.float32) * np.float32(s))

    def lin(self, k, i, o, gain=1.0, bias=True):
        self.w(k, (o, i), gain)
        if bias:
            self.b(k, o)

    def conv(self, k, i, o, ks, gain=1.0):
        self.w(k, (o, i, ks, ks), gain)
        self.b(k, o)

    def norm(self, k, n):
        self.put(k + ".weight", 1 + 0.1 * rng(k + ".weight").standard_normal((n,), dtype=np.float32))
        self.b(k, n, 0.1)


U = "model.diffusion_model."


def resblock(sd, k, i, o, emb):
    sd.norm(k + ".in_layers.0", i)
    sd.conv(k + ".in_layers.2", i, o, 3, 1.4)
    sd.lin(k + ".emb_layers.1", emb, o, 1.4)
    sd.norm(k + ".out_layers.0", o)
    sd.conv(k + ".out_layers.3", o, o, 3, 0.8)
    if i != o:
        sd.conv(k + ".skip_connection", i, o, 1)


def transformer(sd, k, c, ctx):
    sd.norm(k + ".norm", c)
    sd.conv(k + ".proj_in", c, c, 1)
    t = k + ".transformer_blocks.0"
    for a, cd in (("attn1", c), ("attn2", ctx)):
        sd.lin(f"{t}.{a}.to_q", c, c, 1.5, False)
        sd.lin(f"{t}.{a}.to_k", cd, c, 1.5, False)
        sd.lin(f"{t}.{a}.to_v", cd, c, 1.0, False)
        sd.lin(f"{t}.{a}.to_out.0", c, c, 1.2)
    sd.lin(t + ".ff.net.0.proj", c, c * 8)
    sd.lin(t + ".ff.net.2", c * 4, c, 1.0)
    for n in ("norm1", "norm2", "norm3"):
        sd.norm(f"{t}.{n}", c)
    sd.conv(k + ".proj_out", c, c, 1, 0.8)


def unet(sd, mc, ctx, mult=(1, 2, 4, 4), nres=2, attn_ds=(1, 2, 4), out_gain=0.5):
    emb = mc * 4
    sd.lin(U + "time_embed.0", mc, emb, 1.4)
    sd.lin(U + "time_embed.2", emb, emb, 1.4)
    sd.conv(U + "input_blocks.0.0", 4, mc, 3)
    chans = [mc]
    ch = mc
    ds = 1
    n = 1
    for lv, m in enumerate(mult):
        for _ in range(nres):
            resblock(sd, f"{U}input_blocks.{n}.0", ch, m * mc, emb)
            ch = m * mc
            if ds in attn_ds:
                transformer(sd, f"{U}input_blocks.{n}.1", ch, ctx)
            chans.append(ch)
            n += 1
        if lv != len(mult) - 1:
            sd.conv(f"{U}input_blocks.{n}.0.op", ch, ch, 3)
            chans.append(ch)
            n += 1
            ds *= 2
    resblock(sd, U + "middle_block.0", ch, ch, emb)
    transformer(sd, U + "middle_block.1", ch, ctx)
    resblock(sd, U + "middle_block.2", ch, ch, emb)
    n = 0
    for lv, m in list(enumerate(mult))[::-1]:
        for i in range(nres + 1):
            ic = chans.pop()
            resblock(sd, f"{U}output_blocks.{n}.0", ch + ic, m * mc, emb)
            ch = m * mc
            j = 1
            if ds in attn_ds:
                transformer(sd, f"{U}output_blocks.{n}.1", ch, ctx)
                j = 2
            if lv and i == nres:
                sd.conv(f"{U}output_blocks.{n}.{j}.conv", ch, ch, 3)
                ds //= 2
            n += 1
    sd.norm(U + "out.0", mc)
    sd.conv(U + "out.2", mc, 4, 3, out_gain)


V = "first_stage_model."


def vres(sd, k, i, o):
    sd.norm(k + ".norm1", i)
    sd.conv(k + ".conv1", i, o, 3, 1.4)
    sd.norm(k + ".norm2", o)
    sd.conv(k + ".conv2", o, o, 3, 0.8)
    if i != o:
        sd.conv(k + ".nin_shortcut", i, o, 1)


def vmid(sd, k, c):
    vres(sd, k + ".block_1", c, c)
    a = k + ".attn_1"
    sd.norm(a + ".norm", c)
    for x in "qkv":
        sd.conv(f"{a}.{x}", c, c, 1)
    sd.conv(a + ".proj_out", c, c, 1, 0.8)
    vres(sd, k + ".block_2", c, c)


def vae(sd, ch, mult=(1, 2, 4, 4), nres=2):
    e = V + "encoder"
    sd.conv(e + ".conv_in", 3, ch, 3)
    c = ch
    for lv, m in enumerate(mult):
        for i in range(nres):
            vres(sd, f"{e}.down.{lv}.block.{i}", c, m * ch)
            c = m * ch
        if lv != len(mult) - 1:
            sd.conv(f"{e}.down.{lv}.downsample.conv", c, c, 3)
    vmid(sd, e + ".mid", c)
    sd.norm(e + ".norm_out", c)
    sd.conv(e + ".conv_out", c, 8, 3)
    d = V + "decoder"
    c = ch * mult[-1]
    sd.conv(d + ".conv_in", 4, c, 3)
    vmid(sd, d + ".mid", c)
    for lv, m in list(enumerate(mult))[::-1]:
        for i in range(nres + 1):
            vres(sd, f"{d}.up.{lv}.block.{i}", c, m * ch)
            c = m * ch
        if lv:
            sd.conv(f"{d}.up.{lv}.upsample.conv", c, c, 3)
    sd.norm(d + ".norm_out", c)
    sd.conv(d + ".conv_out", c, 3, 3, 0.7)
    sd.conv(V + "quant_conv", 8, 8, 1)
    sd.conv(V + "post_quant_conv", 4, 4, 1)
    # posterior log-variance: -30 everywhere (the clamp), so that encoding is deterministic for all purposes
    w, b = sd[e + ".conv_out.weight"], sd[e + ".conv_out.bias"]
    w[4:] = 0
    b[4:] = -30
    q, qb = sd[V + "quant_conv.weight"], sd[V + "quant_conv.bias"]
    q[:4, 4:] = 0
    q[4:] = 0
    q[4:, 4:, 0, 0] = np.eye(4)
    qb[4:] = 0
    w[:4] *= 5.0


def clip(sd, width, layers, inter):
    T = "cond_stage_model.transformer.text_model."
    s = 0.5
    sd.put(
        T + "embeddings.token_embedding.weight",
        rng("tok").standard_normal((49408, width), dtype=np.float32) * np.float32(s),
    )
    sd.put(
        T + "embeddings.position_embedding.weight",
        rng("pos").standard_normal((77, width), dtype=np.float32) * np.float32(0.25),
    )
    dict.__setitem__(sd, T + "embeddings.position_ids", np.arange(77, dtype=np.int64)[None])
    for i in range(layers):
        k = f"{T}encoder.layers.{i}"
        for x in "qkv":
            sd.lin(f"{k}.self_attn.{x}_proj", width, width, 1.2)
        sd.lin(k + ".self_attn.out_proj", width, width, 1.0)
        sd.lin(k + ".mlp.fc1", width, inter, 1.2)
        sd.lin(k + ".mlp.fc2", inter, width, 1.0)
        sd.norm(k + ".layer_norm1", width)
        sd.norm(k + ".layer_norm2", width)
    sd.norm(T + "final_layer_norm", width)


# ---------------------------------------------------------------- hand-made paths of the tiny model


def ident_norm(sd, k, sl):
    sd[k + ".weight"][sl] = 1
    sd[k + ".bias"][sl] = 0


def timestep_gains(sd, r, mc, w):
    """Gains through the embedding of block r: rows +-c_j(t)."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
    ac = np.cumprod(1 - betas)
    sig = np.sqrt((1 - ac) / ac)
    a_lp = np.clip(sig / np.sqrt(1 + sig**2), 0.1, None) * 0.97
    a_hp = np.clip(np.sqrt(1 + sig**2) / sig, None, 2.0)
    # effective highpass of white noise has less than unit gain, that is fine
    t = np.arange(1000, dtype=np.float64)[:, None]
    fr = np.exp(-math.log(10000) * np.arange(mc // 2) / (mc // 2))[None]
    f = np.concatenate([np.cos(t * fr), np.sin(t * fr)], 1)
    silu = lambda x: x / (1 + np.exp(-x))
    g = lambda k: sd[k].astype(np.float64)
    h = silu(f @ g(U + "time_embed.0.weight").T + g(U + "time_embed.0.bias"))
    h = silu(h @ g(U + "time_embed.2.weight").T + g(U + "time_embed.2.bias"))
    X = np.concatenate([h, np.ones((1000, 1))], 1)
    R = 1e-3 * 1000 * np.eye(X.shape[1])
    R[-1, -1] = 0
    EW, EB = sd[r + ".emb_layers.1.weight"], sd[r + ".emb_layers.1.bias"]
    EW[:16] = 0
    EB[:16] = 0
    for q0, a in ((0, a_lp), (4, a_hp)):
        c = w / a
        wt = 1 / c  # relative error
        sol = np.linalg.solve(
            (X * wt[:, None]).T @ (X * wt[:, None]) * 1.0 + 1e-6 * np.eye(X.shape[1]), (X * wt[:, None]).T @ (c * wt)
        )
        fit = X @ sol
        print("  emb fit rel.err max %.3f  |w| max %.1f" % (np.abs(fit / c - 1).max(), np.abs(sol).max()))
        for j in range(q0, q0 + 4):
            for s, row in ((1, 2 * j), (-1, 2 * j + 1)):
                EW[row] = s * sol[:-1]
                EB[row] = s * sol[-1]


def tiny_unet_path(sd, mc=64, noise=0.10):
    # designated quantities q_0..3 = lowpass(x_k), q_4..7 = highpass(x_k)
    lpk = np.outer([1, 2, 1], [1, 2, 1]) / 16.0
    delta = np.zeros((3, 3))
    delta[1, 1] = 1
    c0, w, c2 = 4.0, 12.0, 6.0
    W, B = sd[U + "input_blocks.0.0.weight"], sd[U + "input_blocks.0.0.bias"]
    W[:16] = 0
    for j in range(8):
        k = lpk if j < 4 else delta - lpk
        for s, r in ((1, 2 * j), (-1, 2 * j + 1)):
            W[r, j % 4] = s * k
            B[r] = s * c0
    # last res block: concat(h 64, hs0 64) -> 64
    r = U + "output_blocks.11.0"
    ident_norm(sd, r + ".in_layers.0", slice(mc, mc + 16))
    W, B = sd[r + ".in_layers.2.weight"], sd[r + ".in_layers.2.bias"]
    W[:16] = 0
    B[:16] = 0
    for j in range(8):
        for s, row in ((1, 2 * j), (-1, 2 * j + 1)):
            # (q+c0)/s0 with s0 ~ sqrt(c0^2+1);  times c0 minus c0 -> q (spatial mean mostly removed)
            W[row, mc + 2 * j, 1, 1] = s * c0
            W[row, mc + 2 * j + 1, 1, 1] = -s * c0
            B[row] = -s * c0
    timestep_gains(sd, r, mc, w)
    ident_norm(sd, r + ".out_layers.0", slice(0, 16))
    W, B = sd[r + ".out_layers.3.weight"], sd[r + ".out_layers.3.bias"]
    W[:8] = 0
    B[:8] = 0
    SW, SB = sd[r + ".skip_connection.weight"], sd[r + ".skip_connection.bias"]
    SW[:8] = 0
    SB[:8] = 0
    for k in range(4):
        for s, row in ((1, 2 * k), (-1, 2 * k + 1)):
            for j in (k, k + 4):
                W[row, 2 * j, 1, 1] = s * w
                W[row, 2 * j + 1, 1, 1] = -s * w
            B[row] = s * (c2 - 2 * w)
    p = U + "output_blocks.11.1.proj_out"
    sd[p + ".weight"][:8] = 0
    sd[p + ".bias"][:8] = 0
    ident_norm(sd, U + "out.0", slice(0, 8))
    W, B = sd[U + "out.2.weight"], sd[U + "out.2.bias"]
    rest = rng("out.rest").standard_normal((4, mc - 8, 3, 3)) / math.sqrt((mc - 8) * 9 * 0.36) * noise
    W[:] = 0
    W[:, 8:] = rest
    B[:] = -c2
    for k in range(4):
        W[k, 2 * k, 1, 1] = c2
        W[k, 2 * k + 1, 1, 1] = -c2


MIX = np.array([[1 / 3, 1 / 3, 1 / 3], [1, 0, -1], [-0.5, 1, -0.5]]) * np.array([[1.8], [1.5], [1.5]])


def still(sd, k, n):
    """The residual branch leaves the first n channels alone."""
    sd[k + ".conv2.weight"][:n] = 0
    sd[k + ".conv2.bias"][:n] = 0


def short(sd, k, rows):
    """rows: list of {in_channel: weight}."""
    W, B = sd[k + ".nin_shortcut.weight"], sd[k + ".nin_shortcut.bias"]
    for r, m in enumerate(rows):
        W[r] = 0
        B[r] = 0
        for i, v in m.items():
            W[r, i, 0, 0] = v


def down(sd, k, n):
    W, B = sd[k + ".weight"], sd[k + ".bias"]
    W[:n] = 0
    B[:n] = 0
    for r in range(n):
        W[r, r, 0:2, 0:2] = 0.25


def up(sd, k, n):
    W, B = sd[k + ".weight"], sd[k + ".bias"]
    W[:n] = 0
    B[:n] = 0
    for r in range(n):
        W[r, r] = np.outer([1, 2, 1], [1, 2, 1]) / 16


SCALE = 0.18215


def tiny_vae_path(sd):
    tiny_encoder_path(sd)
    tiny_quant_path(sd)
    tiny_decoder_path(sd)


def tiny_encoder_path(sd):
    e = V + "encoder"
    CC = 2.0
    W, B = sd[e + ".conv_in.weight"], sd[e + ".conv_in.bias"]
    W[:4] = 0
    B[:3] = 0
    B[3] = CC
    for j in range(3):
        W[j, j, 1, 1] = 1

    eye4 = [{j: 1} for j in range(4)]
    grp = sum(([{j: 1}, {j: -1}, {3: 1}, {3: -1}] for j in range(3)), [])  # 12 rows
    still(sd, e + ".down.0.block.0", 4)
    still(sd, e + ".down.0.block.1", 4)
    down(sd, e + ".down.0.downsample.conv", 4)
    short(sd, e + ".down.1.block.0", eye4)
    still(sd, e + ".down.1.block.0", 4)
    still(sd, e + ".down.1.block.1", 4)
    down(sd, e + ".down.1.downsample.conv", 4)
    short(sd, e + ".down.2.block.0", grp)
    still(sd, e + ".down.2.block.0", 12)
    still(sd, e + ".down.2.block.1", 12)
    down(sd, e + ".down.2.downsample.conv", 12)
    for b in ("down.3.block.0", "down.3.block.1", "mid.block_1", "mid.block_2"):
        still(sd, f"{e}.{b}", 12)
    a = e + ".mid.attn_1.proj_out"
    sd[a + ".weight"][:12] = 0
    sd[a + ".bias"][:12] = 0
    ident_norm(sd, e + ".norm_out", slice(0, 12))
    W, B = sd[e + ".conv_out.weight"], sd[e + ".conv_out.bias"]
    W[:4] = (
        rng("enc.rest").standard_normal(W[:4].shape)
        / math.sqrt(116 * 9 * 0.36)
        * np.array([0.1, 0.1, 0.1, 0.7])[:, None, None, None]
        / SCALE
    )
    B[:4] = 0
    W[:4, :12] = 0
    for z in range(3):
        for j in range(3):
            v = MIX[z, j] * 1.5 / SCALE  # 1.5 ~ the norm's std for c=2
            W[z, 4 * j, 1, 1] = v
            W[z, 4 * j + 1, 1, 1] = -v


def tiny_quant_path(sd):
    q, qb = sd[V + "quant_conv.weight"], sd[V + "quant_conv.bias"]
    q[:4, :4, 0, 0] = np.eye(4) + 0.05 * rng("q").standard_normal((4, 4))
    qb[:4] = 0
    p, pb = sd[V + "post_quant_conv.weight"], sd[V + "post_quant_conv.bias"]
    p[:, :, 0, 0] = np.linalg.inv(q[:4, :4, 0, 0].astype(np.float64))
    pb[:] = 0


def tiny_decoder_path(sd):
    d = V + "decoder"
    W, B = sd[d + ".conv_in.weight"], sd[d + ".conv_in.bias"]
    W[:3] = 0
    B[:3] = 0
    W[3:] *= SCALE
    inv = np.linalg.inv(MIX)
    for j in range(3):
        W[j, :3, 1, 1] = inv[j] * SCALE

    eye3 = [{j: 1} for j in range(3)]
    pm = sum(([{j: 1}, {j: -1}] for j in range(3)), [])
    for b in ("mid.block_1", "mid.block_2", *(f"up.{l}.block.{i}" for l in (3, 2, 1) for i in range(3))):
        still(sd, f"{d}.{b}", 3)
    a = d + ".mid.attn_1.proj_out"
    sd[a + ".weight"][:3] = 0
    sd[a + ".bias"][:3] = 0
    short(sd, d + ".up.1.block.0", eye3)
    short(sd, d + ".up.0.block.0", pm)
    for l in (3, 2, 1):
        up(sd, f"{d}.up.{l}.upsample.conv", 3)
    for i in range(3):
        still(sd, f"{d}.up.0.block.{i}", 6)
    ident_norm(sd, d + ".norm_out", slice(0, 6))
    W, B = sd[d + ".conv_out.weight"], sd[d + ".conv_out.bias"]
    W[:] = rng("dec.rest").standard_normal(W.shape) / math.sqrt(26 * 9 * 0.36) * 0.05
    W[:, :6] = 0
    B[:] = 0
    for j in range(3):
        W[j, 2 * j, 1, 1] = 0.45
        W[j, 2 * j + 1, 1, 1] = -0.45


YAML = """model:
  base_learning_rate: 1.0e-04
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.00085
    linear_end: 0.0120
    num_timesteps_cond: 1
    log_every_t: 200
    timesteps: 1000
    first_stage_key: "jpg"
    cond_stage_key: "txt"
    image_size: 64
    channels: 4
    cond_stage_trainable: false
    conditioning_key: crossattn
    monitor: val/loss_simple_ema
    scale_factor: 0.18215
    use_ema: False
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: 32
        in_channels: 4
        out_channels: 4
        model_channels: {mc}
        attention_resolutions: [ 4, 2, 1 ]
        num_res_blocks: 2
        channel_mult: [ 1, 2, 4, 4 ]
        num_heads: 8
        use_spatial_transformer: True
        transformer_depth: 1
        context_dim: {ctx}
        use_checkpoint: False
        legacy: False
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        monitor: val/rec_loss
        ddconfig:
          double_z: true
          z_channels: 4
          resolution: 256
          in_channels: 3
          out_ch: 3
          ch: {vch}
          ch_mult: [ 1, 2, 4, 4 ]
          num_res_blocks: 2
          attn_resolutions: []
          dropout: 0.0
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params:
        version: {clip}
"""


def clip_config(d, width, layers, heads, inter):
    """The text encoder's config.json (transformers' CLIPTextModel); the tokenizer is CLIP's usual one."""
    os.makedirs(d, exist_ok=True)
    with open(os.path.join(d, "config.json"), "w") as f:
        json.dump(
            {
                "architectures": ["CLIPTextModel"],
                "model_type": "clip_text_model",
                "vocab_size": 49408,
                "hidden_size": width,
                "intermediate_size": inter,
                "num_hidden_layers": layers,
                "num_attention_heads": heads,
                "max_position_embeddings": 77,
                "hidden_act": "quick_gelu",
                "layer_norm_eps": 1e-5,
                "projection_dim": width,
                "bos_token_id": 0,
                "eos_token_id": 2,
                "pad_token_id": 1,
            },
            f,
            indent=1,
        )


SHA = {"tiny": "58564d6acf", "sd15": "645955c6fd"}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("which", choices=["tiny", "sd15"])
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    np.seterr(over="raise")
    if a.which == "tiny":
        mc, ctx, vch, cl, name = 64, 64, 32, (64, 4, 4, 256), "tiny"
        sd = SD()
        unet(sd, mc, ctx, out_gain=0.3)
        vae(sd, vch)
        clip(sd, cl[0], cl[1], cl[3])
        tiny_unet_path(sd)
        tiny_vae_path(sd)
    else:
        mc, ctx, vch, cl, name = 320, 768, 128, (768, 12, 12, 3072), "sd15-random"
        sd = SD()
        unet(sd, mc, ctx, out_gain=0.8)
        vae(sd, vch)
        clip(sd, cl[0], cl[1], cl[3])
    os.makedirs(a.out, exist_ok=True)
    clip_config(os.path.join(a.out, "clip-" + name), *cl)
    from safetensors.numpy import save_file

    f = os.path.join(a.out, name + ".safetensors")
    save_file(dict(sd), f, metadata={"format": "pt"})
    with open(os.path.join(a.out, name + ".yaml"), "w") as y:
        y.write(YAML.format(mc=mc, ctx=ctx, vch=vch, clip="./clip-" + name))
    import hashlib

    with open(f, "rb") as h:
        got = hashlib.sha256(h.read()).hexdigest()[:10]
    print(
        f,
        "%.1f MB" % (os.path.getsize(f) / 1e6),
        "sha256",
        got,
        "as recorded" if got == SHA[a.which] else f"DIFFERS from the recorded {SHA[a.which]}",
    )


if __name__ == "__main__":
    main()
