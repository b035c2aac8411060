"""The network that the config.json of a bundle asks for."""

from .schema import CONFIG_FILE, BundleConfig
from .untrusted import one_line


def network_of(config: BundleConfig):
    """Return the network of a bundle, without memory for its weights."""
    from q2_aam.model.covariates import CovariateForm
    from q2_aam.model.network import build_network

    form = None
    if config.covariates is not None:
        form = CovariateForm.of(config.covariates, config.call.covariates.covariate_fusion)
    try:
        tokens = None if config.features is None else config.features.tokens
        return build_network(config.call.model, config.heads, covariates=form, tokens=tokens)
    except KeyError as error:
        # of torch: a name with a dot, or that of a method
        raise ValueError(
            f"The model's {CONFIG_FILE} has a head whose name cannot be used ({one_line(error.args[0])}); use a model "
            'that this plugin has made.'
        ) from error
