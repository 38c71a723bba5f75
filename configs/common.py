"""Every field there is, with its meaning. Experiments change what differs."""

from ml_collections import ConfigDict


def recipe(**changes) -> ConfigDict:
    """A training block, used by the teacher, the supernet and the students."""
    config = ConfigDict()
    config.steps = 1000  # of the optimizer
    config.batch_size = 128  # over all devices
    config.dtype = "float32"  # of layers, the teacher's too; or "bfloat16"; the rest: float32
    # Peak, after the warm-up. Distillation at T = 3 has no T² factor, so its gradients are small:
    # 0.5, as in the release; 0.1 for hard labels.
    config.learning_rate = 0.5
    config.schedule = "cosine"  # or "linear", "exponential"; from the peak down
    config.final_learning_rate = 0.0  # where it ends
    config.warmup = 0  # steps
    config.momentum = 0.9  # of SGD
    config.nesterov = True  # or heavy-ball momentum
    config.weight_decay = 5e-4  # added to the gradient
    config.decay_all = False  # also of biases and of BatchNorm; or of kernels only
    config.clip = 0.0  # of the gradient's global norm; 0: none
    config.labels = "teacher"  # the teacher on the augmented crop; "stored" logits; or "hard"
    config.temperature = 3.0  # of both sides of the distillation loss
    config.hard_weight = 0.0  # share of hard labels in the loss beside soft ones
    config.label_smoothing = 0.0  # of hard labels
    config.dropout = 0.0  # before the head
    config.drop_path = 0.0  # at the end, from 0 at the start; students of "darts" only
    config.auxiliary = 0.0  # weight of the auxiliary head's loss; students of "darts" only
    config.ema = 0.0  # of the weights, that are kept instead of the last; 0: none; not in searches
    config.calibration_batches = 0  # after training, BatchNorm's average over these; 0: as it is
    config.crop_padding = 4  # pixels of black, then a random window
    config.crop_scale = ()  # (least, greatest) area of a resized crop, share of the image's
    config.flip = True  # with probability one half
    config.color_jitter = ()  # brightness, contrast, saturation, hue: greatest change; hue in turns
    config.lighting = 0.0  # deviation of AlexNet's colour noise, in ImageNet's eigenvalues
    config.cutout = 0  # pixels, side of a square set to the mean
    config.mixup = False  # each image with another one, by a random share; for labels "teacher"
    config.log_every = 50  # steps
    config.update(changes)
    return config


def start(name: str, arg: str) -> tuple[ConfigDict, bool]:
    """The beginning of an experiment with the options that its file is given.

    Args:
        name: of the experiment.
        arg: what follows the file's name and a colon: `quick`, `data=real`, `seed=N`, joined by
            commas.

    Returns:
        The config, whose name has the options in it, and whether it should be quick.
    """
    config, words = get_config(), arg.split(",") if arg else []
    for word in words:
        option, _, value = word.partition("=")
        if option == "seed" and value.isdecimal():
            config.seed = int(value)
        elif word == "data=real":
            config.search.data = "real"
        elif word != "quick":
            raise ValueError(f"{name}.py:{word} is unknown; known: quick, data=real, seed=N")
    config.name = "_".join([name, *words]).replace("=", "_")
    return config, "quick" in words


def get_config() -> ConfigDict:
    """The paper's settings, as far as they do not depend on the data."""
    config = ConfigDict()
    config.name = ""  # of the experiment; without --workdir, the run is in runs/NAME
    config.seed = 0  # of everything

    # Natural images: for the last evaluation, and wherever the config asks for real data.
    config.data = ConfigDict()
    config.data.source = ""  # digits, tfds:NAME, folder:DIR, npz:FILE, or none
    config.data.data_dir = ""  # where TFDS finds its data sets
    # A set with more pixels, in 10^9 bytes, is not kept on every device: training streams it, and a
    # search takes a random part. ImageNet at 224 pixels has 193, CIFAR-10 0.15; 0: stream any.
    config.data.memory_gb = 4.0
    # File with the names of the classes, one a line, in the order of the teacher's outputs. Class
    # folders and labels that are text are looked up in it; empty: the teacher's own names, if any.
    config.data.classes = ""
    config.data.train_split = "train"  # its name in the source
    config.data.test_split = "test"  # its name in the source

    config.teacher = ConfigDict()
    config.teacher.arch = ""  # docs/teachers.md lists them; auto: what the checkpoint holds
    config.teacher.factory = ""  # a model of your own instead: package.module:function
    config.teacher.checkpoint = ""  # a PyTorch file, or what port_torch wrote; none: train one
    config.teacher.prefix = ""  # where in the file the weights are; empty: find them
    config.teacher.num_classes = 0  # 0: as published, or as the checkpoint's head has
    config.teacher.image_size = ()  # (h, w, c); empty: as published
    config.teacher.mean = ()  # per channel, of pixels in [0, 1]; empty: as published
    config.teacher.std = ()  # likewise
    config.teacher.train = recipe(labels="hard", learning_rate=0.1)  # if there is no checkpoint

    config.synthesis = ConfigDict()
    config.synthesis.images = 1000  # a round
    config.synthesis.batch_size = 50  # a work unit; terms with norms depend on it
    config.synthesis.rounds = 10  # of recursive label calibration
    config.synthesis.label_temperature = 1.0  # of the teacher's predictions as next targets
    config.synthesis.margin = 32  # canvas minus window, pixels; 0 turns the regional update off
    config.synthesis.resolutions = ((2, 2000), (1, 3000))  # (pooling, iterations), in order
    config.synthesis.noise = "white"  # that a canvas begins with; or "pink", as natural images are
    config.synthesis.flip = True  # mirror the window with probability one half
    config.synthesis.dtype = "float32"  # of the teacher's layers; or "bfloat16"; losses: float32
    config.synthesis.learning_rate = 0.25  # of Adam, after the warm-up; then a half-cosine to 0
    config.synthesis.warmup = 100  # iterations
    config.synthesis.betas = (0.5, 0.9)  # of Adam
    # The weights of the terms of the loss; 0 drops a term.
    config.synthesis.cross_entropy = 1.0  # with the targets
    config.synthesis.batch_norm = 0.01  # distance to the running statistics, over all layers
    config.synthesis.first_batch_norm = 10.0  # times the above, at the first layer
    config.synthesis.batch_norm_group = 0  # images that share statistics; 0: the whole batch
    config.synthesis.tv_l1 = 0.0  # total variation, mean absolute differences
    config.synthesis.tv_l2 = 1e-4  # total variation, a norm over the batch
    config.synthesis.l2 = 1e-5  # norm of an image
    config.synthesis.competition = 0.0  # DeepInversion's adaptive term
    config.synthesis.competition_temperature = 3.0  # of both sides of that term
    config.synthesis.competitor = ""  # the student it competes with: a ported model's directory
    config.synthesis.log_every = 50  # iterations

    config.search = ConfigDict()
    config.search.strategy = "spos"  # or "darts", "proxyless", "random"; "given": no search
    # For "given": text as in docs/students.md, or the path of another run's architecture.json.
    config.search.architecture = ""
    config.search.data = "synthetic"  # or "real", for comparison
    config.search.space = ConfigDict()
    # "darts", "nasbench201", "nasbench_macro", "proxyless" or "shufflenet".
    config.search.space.name = "nasbench201"
    config.search.space.channels = 16  # of the first stage; other spaces have other settings
    config.search.space.cells = 5  # per stage
    # A cheaper search, on images averaged over squares of so many pixels, with labels "stored".
    config.search.pool = 1
    config.search.held_out = 0.2  # share of the images kept for scoring
    config.search.train = recipe()  # of the supernet
    config.search.spos = ConfigDict()
    config.search.spos.sampling = "uniform"  # of paths; "binned" by MACs; "fair": ops in turn
    config.search.spos.bins = ()  # of "binned": lowest MACs, highest MACs, number of bins
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
    config.search.hardware.beta = 0.3  # exponent of "mul#log"
    config.search.hardware.penalty = 0.1  # lambda of "add#linear"
    config.search.calibration_batches = 20  # for BatchNorm, before a score
    config.search.score = "correlation"  # of logits with the teacher's; or "agreement", "kl"
    config.search.evolution = ConfigDict()
    config.search.evolution.population = 50  # architectures a generation
    config.search.evolution.generations = 20  # the first of which is random
    config.search.evolution.parents = 10  # the best of all scored before
    config.search.evolution.mutations = 25  # children of one parent a generation
    config.search.evolution.crossovers = 25  # children of two parents a generation
    config.search.evolution.mutation_probability = 0.1  # of every choice
    config.search.evolution.max_macs = 0  # 0: no limit
    config.search.evolution.max_params = 0  # 0: no limit
    config.search.evolution.max_latency = 0.0  # ms, by the latency table; 0: no limit

    config.student = ConfigDict()
    config.student.rows = ("synthetic", "real", "noise", "random")  # of the table
    config.student.train = recipe()  # of every row
    return config
