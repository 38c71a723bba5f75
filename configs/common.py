"""All fields of a config, with their defaults. An experiment changes some of them.

The comment beside or above a field is its meaning in docs/configs.md.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

# Rows of the paper's comparison: architectures found on synthetic and on real images, and random
# ones of similar cost, all trained on real images; and the result without any real image.
PAPER = ("synthetic", "real", "random_real", "real_search")


def recipe(**changes) -> ConfigDict:
    """Builds a training block, which the teacher, the supernet and the students have."""
    config = ConfigDict()
    config.steps = 1000  # number of steps of the optimizer
    config.batch_size = 128  # images per step, over all devices together
    # type in which layers compute, the teacher's too: "float32" or "bfloat16"; weights, statistics
    # and losses are float32
    config.dtype = "float32"
    config.learning_rate = 0.1  # peak of the learning rate, after the warm-up
    # decay of the learning rate after the peak: "cosine", "linear" or "exponential"
    config.schedule = "cosine"
    config.final_learning_rate = 0.0  # learning rate at the last step
    config.warmup = 0  # steps at the beginning in which the learning rate rises from 0 to the peak
    config.momentum = 0.9  # momentum of SGD
    config.nesterov = True  # Nesterov momentum; False: heavy-ball momentum
    config.weight_decay = 5e-4  # factor of the weights that is added to their gradient
    config.decay_all = False  # decay biases and BatchNorm's weights too; False: kernels only
    config.clip = 0.0  # largest global norm of the gradient; 0: no clipping
    # "teacher": the teacher labels each augmented image; "stored": its logits from the synthetic
    # data set; "hard": class labels
    config.labels = "teacher"
    # Loss with soft labels. "kl": KL divergence from the teacher, with a factor that makes its
    # gradients as large as those of hard labels, so that published settings can be used as they
    # are. "cross_entropy": the release's loss, without a factor.
    config.distillation = "kl"
    config.temperature = 3.0  # temperature T of both sides of the distillation loss
    config.hard_weight = 0.0  # share of hard labels in a loss with soft labels (the teacher's)
    config.label_smoothing = 0.0  # smoothing of hard labels; 0: none
    config.dropout = 0.0  # dropout rate before the head; 0: none
    # rate of drop path at the last step, rising from 0; only for students of "darts"
    config.drop_path = 0.0
    config.auxiliary = 0.0  # weight of the auxiliary head's loss; only for students of "darts"
    # decay of a moving average of the weights, kept instead of the last; 0: none; not in searches
    config.ema = 0.0
    # batches for new averages of BatchNorm's statistics after training; 0: none; not in searches
    config.calibration_batches = 0
    config.crop_padding = 4  # pixels of black around the image before a random crop; 0: no crop
    # (least, greatest) area of a random resized crop, as shares of the image; empty: no such crop
    config.crop_scale = ()
    config.flip = True  # mirror each image with probability one half
    # largest change of (brightness, contrast, saturation, hue), of the hue in turns; empty: none
    config.color_jitter = ()
    # standard deviation of AlexNet's colour noise, in units of ImageNet's eigenvalues; 0: none
    config.lighting = 0.0
    config.cutout = 0  # side of a square that is set to the mean colour, in pixels; 0: none
    # mix each image with another one, by a random share; needs labels="teacher"
    config.mixup = False
    config.log_every = 50  # steps between two rows of metrics
    config.update(changes)
    return config


def space(name: str, **settings) -> ConfigDict:
    """Builds the block of a search space; a setting that is None has the space's own default.

    Args:
        name: name of the space.
        **settings: values of settings that differ from the defaults of the space.
    """
    config = ConfigDict()
    # name of the search space; package.module:Class names a space of your own
    config.name = name
    config.channels = placeholder(object)  # channels of the first stage, or of every stage
    config.cells = placeholder(object)  # cells of every stage, or of the supernet of "darts"
    config.network_channels = placeholder(object)  # `channels` of the network that is trained
    config.network_cells = placeholder(object)  # `cells` of the network that is trained
    config.imagenet = placeholder(object)  # whether the first layers are those for ImageNet
    config.auxiliary = placeholder(object)  # whether networks have an auxiliary head
    config.width = placeholder(object)  # factor of all channels
    config.repeats = placeholder(object)  # blocks of every stage
    config.strides = placeholder(object)  # stride of the first block of every stage
    config.stem_stride = placeholder(object)  # stride of the first convolution
    config.dropout = placeholder(object)  # share of features left out before the head
    with config.unlocked():  # for settings of a space of your own
        config.update(settings)
    return config


def start(name: str, arg: str) -> tuple[ConfigDict, bool]:
    """Builds the config that an experiment starts from, with the options of the command line.

    Args:
        name: name of the experiment.
        arg: options after the file's name and a colon: `quick`, `paper`, `data=real`, `seed=N`,
            joined by commas.

    Returns:
        The config, whose name has the options in it, and whether `quick` is one of them.
    """
    config, words = get_config(), arg.split(",") if arg else []
    for word in words:
        option, _, value = word.partition("=")
        if option == "seed" and value.isdecimal():
            config.seed = int(value)
        elif word == "data=real":
            config.search.data = "real"
        elif word == "paper":
            config.student.rows = PAPER
        elif word != "quick":
            raise ValueError(f"{name}.py:{word} is unknown; known: quick, paper, data=real, seed=N")
    config.name = "_".join([name, *words]).replace("=", "_")
    return config, "quick" in words


def get_config() -> ConfigDict:
    """Builds the config with the paper's settings, as far as they do not depend on the data."""
    config = ConfigDict()
    config.name = ""  # name of the experiment; without --workdir, the run is in runs/NAME
    config.seed = 0  # seed of all random numbers

    # Labelled natural images, if there are any: to test the result, and for comparisons with real
    # data.
    config.data = ConfigDict()
    # labelled natural images: digits, tfds:NAME, folder:DIR or npz:FILE; empty: none
    config.data.source = ""
    config.data.data_dir = ""  # folder of the data sets of TFDS; empty: the default of TFDS
    # Largest set of images that is kept on every device, in 10^9 bytes of pixels. Training streams
    # a larger one, and a search takes a random part of it. ImageNet at 224 pixels has 193, CIFAR-10
    # 0.15; 0: stream every set.
    config.data.memory_gb = 4.0
    # Text file with the names of the classes, one per line, in the order of the teacher's outputs.
    # Names of class folders, and labels that are text, are looked up in it. Empty: the names in the
    # teacher's card, if it has any.
    config.data.classes = ""
    config.data.train_split = "train"  # name of the training images in the source
    config.data.test_split = "test"  # name of the test images in the source

    config.teacher = ConfigDict()
    # architecture, see docs/teachers.md; auto: the one that the checkpoint fits
    config.teacher.arch = ""
    # function that builds a model of your own, instead of arch: package.module:function
    config.teacher.factory = ""
    # a PyTorch file, or a folder written by port_torch; empty: train a teacher
    config.teacher.checkpoint = ""
    # where in the file the weights are, e.g. model_ema; empty: find them
    config.teacher.prefix = ""
    # number of classes; 0: as published, or as the checkpoint's head has
    config.teacher.num_classes = 0
    config.teacher.image_size = ()  # (height, width, channels) of the images; empty: as published
    # mean per channel in your training code, of pixels in [0, 1]; empty: as published
    config.teacher.mean = ()
    # standard deviation per channel in your code, of pixels in [0, 1]; empty: as published
    config.teacher.std = ()
    # training of the teacher, if there is no checkpoint
    config.teacher.train = recipe(labels="hard")

    config.synthesis = ConfigDict()
    # images per round, a multiple of batch_size; the images of all rounds are kept
    config.synthesis.images = 1000
    # Images per round that nothing is trained on and no search sees, made beside the others:
    # students are compared with the teacher on them, which needs no real data. As many as whole
    # batches of synthesis.batch_size have; 0: none.
    config.synthesis.held_out = 50
    # Images optimized together and written as one shard. tv_l2 is a norm over the batch, and
    # batch_norm compares statistics of the batch: retune both if you change this.
    config.synthesis.batch_size = 50
    config.synthesis.rounds = 10  # rounds of recursive label calibration
    # pixels by which the canvas is larger than the teacher's image; 0: no regional update
    config.synthesis.margin = 32
    # largest number of pixels by which images are rolled in each iteration, DeepInversion's jitter
    # instead of regional update (30 there, with margin=0); 0: none
    config.synthesis.roll = 0
    # (pooling, iterations) of each resolution, in order; pooling 2: half the height and width
    config.synthesis.resolutions = ((2, 2000), (1, 3000))
    # noise that a canvas begins with: "white", or "pink", like natural images
    config.synthesis.noise = "white"
    config.synthesis.flip = True  # mirror the window with probability one half
    # type in which the teacher's layers compute: "float32" or "bfloat16"; losses are float32
    config.synthesis.dtype = "float32"
    # peak learning rate of Adam, after the warm-up; then half a cosine down to 0, per resolution
    config.synthesis.learning_rate = 0.25
    # iterations at the beginning of each resolution in which the learning rate rises
    config.synthesis.warmup = 100
    config.synthesis.betas = (0.5, 0.9)  # betas of Adam
    config.synthesis.cross_entropy = 1.0  # weight of the cross-entropy with the targets; 0 drops it
    # weight of the distance to the running statistics, a sum over BatchNorm layers; 0 drops it
    config.synthesis.batch_norm = 0.01
    config.synthesis.first_batch_norm = 10.0  # factor of the first BatchNorm layer in that sum
    # images whose statistics are taken together; 0: the whole batch
    config.synthesis.batch_norm_group = 0
    # weight of total variation as mean absolute differences of pixels; 0 drops it
    config.synthesis.tv_l1 = 0.0
    config.synthesis.tv_l2 = 1e-4  # weight of total variation as a norm over the batch; 0 drops it
    config.synthesis.l2 = 1e-5  # weight of the norm of an image; 0 drops it
    config.synthesis.competition = 0.0  # weight of DeepInversion's adaptive term; 0 drops it
    config.synthesis.competition_temperature = 3.0  # temperature of both sides of the adaptive term
    config.synthesis.competitor = ""  # student of the adaptive term: a folder written by port_torch
    config.synthesis.log_every = 50  # iterations between two rows of metrics

    config.search = ConfigDict()
    # "spos", "darts", "proxyless" or "random"; "given": no search, see architecture
    config.search.strategy = "spos"
    # only for strategy "given": the architecture as text, see docs/own_architecture.md, or the
    # path of another run's architecture.json
    config.search.architecture = ""
    config.search.data = "synthetic"  # images of the search: "synthetic", or "real" for comparison
    config.search.space = space("nasbench201")
    # Side of the squares over which the search averages its images, in pixels: 2 halves the
    # resolution, so that the search is cheaper. Above 1 it needs train.labels="stored" or "hard".
    config.search.pool = 1
    # share of the images that do not train weights: architectures are scored on them, and "darts"
    # and "proxyless" train their alphas on them
    config.search.held_out = 0.2
    config.search.train = recipe()  # training of the supernet
    config.search.spos = ConfigDict()
    # sampling of paths: "uniform"; "binned": evenly over MACs; "fair": all ops equally often
    config.search.spos.sampling = "uniform"
    config.search.spos.bins = ()  # for "binned": (lowest MACs, highest MACs, number of bins)
    # Alphas are the architecture parameters of "darts" and "proxyless": one number per op at every
    # position.
    config.search.alphas = ConfigDict()
    # learning rate of Adam for the alphas, the parameters that weigh the ops in "darts" and
    # "proxyless"; 1e-3 in ProxylessNAS
    config.search.alphas.learning_rate = 3e-4
    # betas of Adam for the alphas; (0, 0.999) in ProxylessNAS
    config.search.alphas.betas = (0.5, 0.999)
    config.search.alphas.weight_decay = 1e-3  # weight decay of the alphas; 0 in ProxylessNAS
    config.search.darts = ConfigDict()
    # gradient of the alphas: "first" order, "second" order, or "second_fd" by finite differences
    config.search.darts.order = "first"
    # weight of Beta-DARTS's log Σ exp alpha at the last step, rising from 0; 50 in its paper
    config.search.darts.beta_darts = 0.0
    # largest random change of the mixture at the last step, rising from 0; 0.3 in its paper
    config.search.darts.sdarts_rs = 0.0
    config.search.proxyless = ConfigDict()
    # gradient of the alphas: from "two" drawn ops per position, from all ("full"), or "reinforce"
    config.search.proxyless.gradient = "two"
    config.search.proxyless.warmup = 0  # steps at the beginning that train only weights
    config.search.proxyless.every = 5  # steps of the weights for one step of the alphas
    config.search.proxyless.baseline_decay = 0.99  # decay of the mean reward, for "reinforce"
    # exponent of reference / cost in the reward, for "reinforce"
    config.search.proxyless.reward_exponent = 0.1
    # file of measured latencies of this space, from python -m benchmarks.latency; empty: none
    config.search.latency_table = ""
    config.search.hardware = ConfigDict()
    # cost in the loss of "proxyless": "macs", "params" or "latency"; or "none"
    config.search.hardware.cost = "none"
    config.search.hardware.reference = 100e6  # the cost to aim for; a latency is in ms
    # how the cost enters the loss: "mul#log" or "add#linear"
    config.search.hardware.form = "mul#log"
    config.search.hardware.alpha = 0.2  # factor of the loss in "mul#log"
    config.search.hardware.beta = 0.3  # exponent of the cost in "mul#log"
    config.search.hardware.penalty = 0.1  # weight of the cost in "add#linear" (lambda)
    # batches over which BatchNorm's statistics are averaged before a score
    config.search.calibration_batches = 20
    # "correlation" with the teacher's logits; "agreement" on the top class; or "kl" divergence
    config.search.score = "correlation"
    # What the search looks for. "score": the best score within the limits; "pareto": networks of
    # several sizes, each the best of its cost, smaller and larger than the limits as well. None:
    # "pareto" where student.count is above 1.
    config.search.objective = placeholder(str)
    # cost by which these sizes differ: "macs", "params", "latency" by a latency table, or "memory",
    # the largest sum of activations
    config.search.front_cost = "macs"
    config.search.evolution = ConfigDict()
    config.search.evolution.population = 50  # architectures per generation
    config.search.evolution.generations = 20  # number of generations; the first one is random
    # number of parents: the best of all architectures scored before; for the objective "pareto" by
    # non-dominated sorting in score and cost, as in NSGA-II
    config.search.evolution.parents = 10
    config.search.evolution.mutations = 25  # children of one parent, per generation
    config.search.evolution.crossovers = 25  # children of two parents, per generation
    # probability that a mutation draws a choice anew
    config.search.evolution.mutation_probability = 0.1
    config.search.evolution.max_macs = 0  # most MACs of the architecture found; 0: no limit
    # most parameters of the architecture found; 0: no limit
    config.search.evolution.max_params = 0
    # most memory that the activations of one image may take at once, in bytes at one byte a value,
    # as in int8 (float32 takes four times as much); 0: no limit
    config.search.evolution.max_memory = 0
    # longest latency by the latency table, in ms; 0: no limit
    config.search.evolution.max_latency = 0.0

    config.student = ConfigDict()
    # Networks of different cost that are trained on synthetic images: the best one within the
    # limits, and others of the search's Pareto front. The search is another one where it is above
    # 1; from 2 on it can be raised in a finished run.
    config.student.count = 1
    # Rows of the result table. "synthetic" is the result: the architecture found, trained on
    # synthetic images. For comparison: the same on noise ("noise"); random architectures of similar
    # cost ("random"), and the largest that keeps the limits ("largest"), on synthetic images; on
    # real images with their own labels the architecture found ("real"), random ones
    # ("random_real"), and what the same search finds on real images ("real_search"). None:
    # "synthetic", "noise", "random" and, if there is data.source, "real". Rows can be added to a
    # finished run.
    config.student.rows = placeholder(object)
    config.student.random_networks = 3  # random architectures, each in a row of its own folder
    config.student.train = recipe()  # training on synthetic images and on noise
    config.student.real_train = recipe(labels="hard")  # training on real images
    return config
