"""Values of options that are allowed and are not their defaults, together, although some exclude each other."""

# Options that need another one at a value of its own, and two sets of values that agree.
TOGETHER = (
    {
        'loss': 'quantile',
        'quantiles': (0.25, 0.75),
        'output_activation': 'sigmoid',
        'output_range': (-1e6, 1e6),
        'schedule': 'plateau',
        'plateau_factor': 0.25,
        'plateau_patience': 3,
        'optimizer': 'sgd',
        'momentum': 0.5,
        'head_layers': 2,
        'head_dropout': 0.5,
        'residual_head': True,
        'class_weights': 'given',
        'weights_of_classes': ('a=1', 'b=2'),
        'strategy': 'fsdp',
        'devices': 3,
        'nodes': 2,
        'rendezvous': 'one:29400',
    },
    {
        'loss': 'asymmetric',
        'over_penalty': 2.0,
        'under_penalty': 3.0,
        'output_activation': 'softplus',
        'schedule': 'cosine_restarts',
        'restarts': 3,
        'optimizer': 'adam',
        'class_weights': 'none',
    },
)
# What each of these needs at the value that it has there.
NEEDS = {
    'quantiles': ('loss',),
    'over_penalty': ('loss',),
    'under_penalty': ('loss',),
    'output_activation': ('output_range',),
    'output_range': ('output_activation',),
    'restarts': ('schedule',),
    'plateau_factor': ('schedule',),
    'plateau_patience': ('schedule',),
    'momentum': ('optimizer',),
    'class_weights': ('weights_of_classes',),
    'weights_of_classes': ('class_weights',),
    'strategy': ('devices',),
    'nodes': ('rendezvous',),
    'rendezvous': ('nodes',),
}
# Lists of names.
NAMES = ('a', 'b')
CHOSEN = {name for values in TOGETHER for name in values}


def sets_of_values(call, another):
    """Return {parameter: value} twice, which together have each at another value than its default.

    `another` gives that of an option that agrees with all others.
    """
    options = call.options()
    free = {opt.name: _another(opt, another) for opt in options if opt.name not in CHOSEN}
    return [free | {opt.name: values[opt.name] for opt in options if opt.name in values} for values in TOGETHER]


def one_changed(opt, another):
    """Return {parameter: value} of one option at another value, with what it needs."""
    for values in TOGETHER:
        if opt.name in values:
            return {name: values[name] for name in (opt.name, *NEEDS.get(opt.name, ()))}
    return {opt.name: _another(opt, another)}


def _another(opt, another):
    return NAMES if opt.many and opt.kind is str else another(opt)


def another_than_default(opt):
    """Return a value of an option that is allowed and is not its default."""
    if opt.choices:
        return next(choice for choice in opt.choices if choice != opt.default)
    if opt.kind is bool:
        return not opt.default
    return opt.low if opt.low != opt.default else opt.high
