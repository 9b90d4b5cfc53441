"""The table of what is checked of a network."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]


class Check(NamedTuple):
    """A check of a network.

    Attributes:
        name: Name of the finding.
        formula: What is measured.
        threshold: The check fails if the measured number, or the p-value that the formula names, is larger.
        severity: `error` if results would be meaningless, `warning` if they could mislead, `note` otherwise.
        text: What was found, with placeholders in braces.
        fix: What to do about it, with placeholders in braces.
    """

    name: str
    formula: str
    threshold: float
    severity: Severity
    text: str
    fix: str


_RANDOM = (
    "The network is random: its logits differ by up to {measured:.3g} between five forward passes of the same images, "
    "the largest being {scale:.3g}{modules}"
)


def _rise(name: str, images: str, fix: str) -> Check:
    """Return the check that a change of the images does not raise the accuracy."""
    text = "The accuracy on {images} images rises from {accuracy:.3f} to {other:.3f} {change}"
    return Check(name, f"rise of the accuracy with {images}", 0.05, "warning", text, fix)


CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        Check(
            name="unusable",
            formula="number of networks that cannot be examined",
            threshold=0,
            severity="error",
            text="The network cannot be examined: {error}",
            fix="pass a torch.nn.Module or a function from images (N, C, H, W) to logits (N, K)",
        ),
        Check(
            name="labels",
            formula="number of labels that are no class",
            threshold=0,
            severity="error",
            text="{measured} of {images} labels are no class: they range from {low} to {high}, expected 0 to {last}",
            fix="renumber the labels, or set num_classes",
        ),
        Check(
            name="forward_fails",
            formula="number of images in a forward pass that raises an exception",
            threshold=0,
            severity="error",
            text="A forward pass of images {shape} raised {error}",
            fix="{hint}",
        ),
        Check(
            name="output_type",
            formula="number of outputs that are no tensor of floating-point numbers",
            threshold=0,
            severity="error",
            text="The network returns {kind}, expected a tensor of logits (N, {classes})",
            fix="{hint}",
        ),
        Check(
            name="output_shape",
            formula="number of dimensions, or of rows, that are not as expected",
            threshold=0,
            severity="error",
            text="The network returns shape {shape} for a batch of {images}, expected ({images}, {classes})",
            fix="return one row of logits for each image",
        ),
        Check(
            name="num_outputs",
            formula="difference between the number of outputs and of classes",
            threshold=0,
            severity="error",
            text="The network returns {outputs} for {classes} classes",
            fix="{hint}",
        ),
        Check(
            name="non_finite",
            formula="share of images with outputs that are not finite",
            threshold=0,
            severity="error",
            text="The outputs of {measured:.1%} of {images} images are not finite",
            fix="look for a division by zero, a logarithm of zero or an overflow in the network",
        ),
        Check(
            name="probabilities",
            formula="1 if the outputs of every image are in [0, 1] and sum to 1, up to rounding",
            threshold=0,
            severity="error",
            text="The outputs are probabilities: those of {images} images are in [0, 1] and sum to 1",
            fix="return the logits before the softmax, or the logarithm of the probabilities",
        ),
        Check(
            name="input_modified",
            formula="largest change of an input pixel by a forward pass",
            threshold=0,
            severity="error",
            text="The network changes its input images in place, by up to {measured:.3g}",
            fix="replace operations such as x.sub_(mean) and ReLU(inplace=True) on the images by x = x - mean",
        ),
        Check(
            name="rounded_pixels",
            formula="largest change of a pixel in [0, 1] by the conversion to the type of the parameters",
            threshold=1 / 2550,  # a tenth of the step of 8-bit images
            severity="warning",
            text="The parameters are {dtype}, which rounds pixels by up to {measured:.2g}: smaller changes of an image "
            "vanish",
            fix="evaluate network.float()",
        ),
        Check(
            name="random",
            formula="largest difference of logits between five forward passes of the same images",
            threshold=1e-5,  # relative to the largest logit, in float32
            severity="error",
            text=_RANDOM,
            fix="turn the randomness off in evaluation mode, or set samples_per_forward to the number of passes to "
            "average, such as 10",
        ),
        Check(
            name="averaged",
            formula="as `random`, if several forward passes are averaged",
            threshold=1e-5,
            severity="note",
            text=_RANDOM,
            fix="attacks and predictions average {forward_samples} passes",
        ),
        Check(
            name="unseeded",
            formula="as `random`, with the same seed of the global generators before each pass",
            threshold=1e-5,
            severity="error",
            text="The logits still differ by up to {measured:.3g} after torch, NumPy and Python were given the same "
            "seed: results cannot be reproduced",
            fix="draw from the global generators, and keep no state between forward passes",
        ),
        Check(
            name="not_random",
            formula="number of forward passes that are averaged although they are equal",
            threshold=1,
            severity="note",
            text="The network is not random, and {measured} forward passes are averaged",
            fix="leave samples_per_forward out",
        ),
        Check(
            name="batch_dependent",
            formula="largest difference of an image's logits between batches with other images",
            threshold=1e-5,  # relative to the largest logit, in float32
            severity="error",
            text="The logits of an image depend on {what}: they differ by up to {measured:.3g}, the largest being "
            "{scale:.3g}{modules}",
            fix="use batch norm in evaluation mode, or compute statistics for each image",
        ),
        Check(
            name="train_mode",
            formula="number of modules in train mode",
            threshold=0,
            severity="note",
            text="Of {modules} modules that differ between train and evaluation mode, {measured} are in train mode",
            fix="the evaluation uses a copy in evaluation mode; call network.eval() to compute the same outputs",
        ),
        Check(
            name="stays_in_train_mode",
            formula="number of modules that are in train mode after network.eval()",
            threshold=0,
            severity="warning",
            text="Modules that stay in train mode after network.eval(): {measured}, namely {names}",
            fix="let train(False) reach them, or call eval() on the modules that a function uses",
        ),
        Check(
            name="no_gradient",
            formula="share of images whose logits are detached from them",
            threshold=0,
            severity="warning",
            text="The logits of {measured:.0%} of {images} images have no gradient for the pixels: gradient attacks "
            "cannot change these",
            fix="remove torch.no_grad(), detach(), NumPy and integer conversions from the forward pass, or use "
            "gradient-free attacks",
        ),
        Check(
            name="gradient_fails",
            formula="number of images in a backward pass that raises an exception",
            threshold=0,
            severity="warning",
            text="A backward pass to images {shape} raised {error}: gradient attacks fail",
            fix="use differentiable operations, or gradient-free attacks",
        ),
        Check(
            name="non_finite_gradient",
            formula="share of images with a gradient that is not finite",
            threshold=0,
            severity="error",
            text="The gradients for {measured:.1%} of {images} images are not finite",
            fix="look for square roots and norms of zero, or an overflow in the network",
        ),
        Check(
            name="zero_gradient",
            formula="share of images whose gradient of the logits is exactly zero",
            threshold=0.02,
            severity="warning",
            text="The gradient of the logits is exactly zero for {measured:.0%} of {images} images: gradient attacks "
            "cannot change these",
            fix="remove rounding and saturated functions from the forward pass, or use gradient-free attacks",
        ),
        Check(
            name="saturated_loss",
            formula="share of images whose gradient of the cross-entropy is exactly zero, that of the logits not",
            threshold=0.02,
            severity="warning",
            text="The gradient of the cross-entropy is exactly zero for {measured:.0%} of {images} images, because the "
            "largest logits exceed the others by too much",
            fix="use attacks on a loss of logits, such as margin or dlr, or gradient-free attacks",
        ),
        Check(
            name="near_chance",
            formula="accuracy, and the p-value of a binomial test that it exceeds that of the most frequent class",
            threshold=1e-3,
            severity="warning",
            text="The accuracy is {measured:.3f} on {images} images, where the most frequent class has {chance:.3f}",
            fix="check the weights, the order of the classes, the channels and the normalization",
        ),
        _rise(
            "not_normalized",
            "normalized images",
            "the network seems to expect normalized images: pass {hint}",
        ),
        _rise(
            "normalized_twice",
            "images whose normalization is undone",
            "images seem to be normalized twice: leave mean and std out, or remove the network's normalization",
        ),
        _rise(
            "channel_order",
            "channels in reverse order",
            "the network seems to expect BGR: evaluate lambda x: network(x.flip(1))",
        ),
        Check(
            name="second_normalization",
            formula="number of modules that hold the same mean and standard deviation as the normalization before them",
            threshold=0,
            severity="warning",
            text="Module {module} holds the mean and std that are given, too: images are probably normalized twice",
            fix="leave mean and std out if the module normalizes images",
        ),
        Check(
            name="normalization",
            formula="rise of the accuracy with normalized images, or with images whose normalization is undone, if it "
            "is significant and smaller than above",
            threshold=0,
            severity="note",
            text="The accuracy on {images} images is {accuracy:.3f}, and {other:.3f} {change}",
            fix="pass the normalization of the training, mean and std, or neither",
        ),
        _rise("layout", "another layout of the images", "{hint}"),
        _rise("pixel_range", "another range of pixel values", "{hint}"),
        Check(
            name="permuted_labels",
            formula="rise of the accuracy on half of the images with the classes renamed as in the other half",
            threshold=0.05,
            severity="warning",
            text="The labels look permuted: the accuracy on {images} images is {accuracy:.3f}, and {other:.3f} if the "
            "classes are renamed ({change})",
            fix="number the classes as in the training of the network",
        ),
    )
}
