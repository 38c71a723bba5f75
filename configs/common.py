"""Every field there is, with its meaning. Experiments change what differs."""

from ml_collections import ConfigDict


def recipe(**changes) -> ConfigDict:
    """A training block, used by the teacher, the supernet and the students."""
    config = ConfigDict()
    config.steps = 1000
    config.batch_size = 128
    # Peak, after the warm-up. Distillation at T = 3 has no T² factor, so its
    # gradients are small: 0.5, as in the release; 0.1 for hard labels.
    config.learning_rate = 0.5
    config.schedule = "cosine"  # or "linear", from the peak
    config.final_learning_rate = 0.0  # where it ends
    config.warmup = 0  # steps
    config.momentum = 0.9
    config.nesterov = True
    config.weight_decay = 5e-4  # of kernels only
    config.clip = 0.0  # of the gradient's global norm; 0: none
    config.labels = "teacher"  # the teacher on the augmented crop; "stored" logits; or "hard"
    config.temperature = 3.0  # of both sides of the distillation loss
    config.hard_weight = 0.0  # share of hard labels in the loss beside soft ones
    config.label_smoothing = 0.0  # of hard labels
    config.crop_padding = 4  # pixels of black, then a random window
    config.flip = True
    config.log_every = 50  # steps
    config.update(changes)
    return config


def get_config() -> ConfigDict:
    """The paper's settings, as far as they do not depend on the data."""
    config = ConfigDict()
    config.name = ""
    config.seed = 0

    # Natural images: for the last evaluation, and wherever the config asks for real data.
    config.data = ConfigDict()
    config.data.source = ""  # digits, tfds:NAME, folder:DIR, npz:FILE, or none
    config.data.data_dir = ""  # where TFDS finds its data sets
    config.data.train_split = "train"
    config.data.test_split = "test"

    config.teacher = ConfigDict()
    config.teacher.arch = ""  # docs/teachers.md lists them; auto: what the checkpoint holds
    config.teacher.factory = ""  # a model of your own instead: package.module:function
    config.teacher.checkpoint = ""  # a PyTorch file, or what port_torch wrote; none: train one
    config.teacher.prefix = ""  # where in the file the weights are; empty: find them
    config.teacher.num_classes = 0  # 0: as published, or as the checkpoint's head has
    config.teacher.image_size = ()  # (h, w, c); empty: as published
    config.teacher.mean = ()  # per channel, of pixels in [0, 1]; empty: as published
    config.teacher.std = ()
    config.teacher.train = recipe(labels="hard", learning_rate=0.1)

    config.synthesis = ConfigDict()
    config.synthesis.images = 1000  # a round
    config.synthesis.batch_size = 50  # a work unit; terms with norms depend on it
    config.synthesis.rounds = 10  # of recursive label calibration
    config.synthesis.label_temperature = 1.0  # of the teacher's predictions as next targets
    config.synthesis.margin = 32  # canvas minus window, pixels; 0 turns the regional update off
    config.synthesis.resolutions = ((2, 2000), (1, 3000))  # (pooling, iterations), in order
    config.synthesis.flip = True  # mirror the window with probability one half
    config.synthesis.learning_rate = 0.25
    config.synthesis.warmup = 100  # iterations
    config.synthesis.betas = (0.5, 0.9)
    config.synthesis.cross_entropy = 1.0  # the weights of the loss terms; 0 drops a term
    config.synthesis.batch_norm = 0.01
    config.synthesis.first_batch_norm = 10.0  # times the above, at the first layer
    config.synthesis.batch_norm_group = 0  # images that share statistics; 0: the whole batch
    config.synthesis.tv_l1 = 0.0
    config.synthesis.tv_l2 = 1e-4
    config.synthesis.l2 = 1e-5
    config.synthesis.competition = 0.0  # DeepInversion's adaptive term
    config.synthesis.competition_temperature = 3.0
    config.synthesis.competitor = ""  # the student it competes with: a ported model's directory
    config.synthesis.log_every = 50  # iterations

    config.search = ConfigDict()
    config.search.strategy = "spos"  # or "darts", "proxyless", "random"
    config.search.data = "synthetic"  # or "real", for comparison
    config.search.space = ConfigDict()
    config.search.space.name = "nasbench201"
    config.search.space.channels = 16
    config.search.space.cells = 5  # per stage
    config.search.held_out = 0.2  # share of the images kept for scoring
    config.search.train = recipe()
    # Of "darts" and "proxyless": one number an op at every position.
    config.search.alphas = ConfigDict()
    config.search.alphas.learning_rate = 3e-4  # Adam's; 1e-3 in ProxylessNAS
    config.search.alphas.betas = (0.5, 0.999)  # (0, 0.999) in ProxylessNAS
    config.search.alphas.weight_decay = 1e-3  # 0 in ProxylessNAS
    config.search.darts = ConfigDict()
    config.search.darts.order = "first"  # "second", or "second_fd" by finite difference
    config.search.darts.beta_darts = 0.0  # final weight of log Σ exp alpha; 50 in its paper
    config.search.darts.sdarts_rs = 0.0  # final random change of the mixture; 0.3 in its paper
    config.search.proxyless = ConfigDict()
    config.search.proxyless.gradient = "two"  # paths; "full": all of them; or "reinforce"
    config.search.proxyless.warmup = 0  # of the steps, on weights alone
    config.search.proxyless.every = 5  # weight steps for a step of the alphas
    config.search.proxyless.baseline_decay = 0.99  # of REINFORCE's mean reward
    config.search.proxyless.reward_exponent = 0.1  # of reference / cost
    config.search.latency_table = ""  # of this space, by python -m benchmarks.latency
    config.search.hardware = ConfigDict()
    config.search.hardware.cost = "none"  # or "macs", "params", "latency"
    config.search.hardware.reference = 100e6  # what it should be; of latency in ms
    config.search.hardware.form = "mul#log"  # or "add#linear"
    config.search.hardware.alpha = 0.2  # of "mul#log"
    config.search.hardware.beta = 0.3
    config.search.hardware.penalty = 0.1  # lambda of "add#linear"
    config.search.calibration_batches = 20  # for BatchNorm, before a score
    config.search.score = "agreement"  # or "kl"; with the teacher
    config.search.evolution = ConfigDict()
    config.search.evolution.population = 50
    config.search.evolution.generations = 20
    config.search.evolution.parents = 10
    config.search.evolution.mutations = 25
    config.search.evolution.crossovers = 25
    config.search.evolution.mutation_probability = 0.1
    config.search.evolution.max_macs = 0  # 0: no limit
    config.search.evolution.max_params = 0  # 0: no limit
    config.search.evolution.max_latency = 0.0  # ms, by the latency table; 0: no limit

    config.student = ConfigDict()
    config.student.rows = ("synthetic", "real", "noise", "random")  # of the table
    config.student.train = recipe()
    return config
