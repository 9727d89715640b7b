"""The table of all faults in code; a new fault is one entry here and one function in `faults`."""

from __future__ import annotations

from typing import Final

from flyweight.code_check.faults import evaluating, images, losses, nets, training
from flyweight.code_check.findings import Fault

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(
        code="CD01",
        title="the test set is the training set",
        severity="fault",
        explanation="The test set is read from the training images. The test accuracy then says how well the net"
        " remembers them, and nothing about new images. Read the test images (train=False).",
        find=images.test_set_is_training_set,
    ),
    Fault(
        code="CD02",
        title="the evaluation is given the training loader",
        severity="fault",
        explanation="The function that tests the net is called with the loader of the training images. Its result is a"
        " training accuracy under another name, and is too high. Call it with the loader of the test images.",
        find=evaluating.evaluated_on_training_images,
    ),
    Fault(
        code="CD03",
        title="test images are augmented",
        severity="fault",
        explanation="The transform of the test images has random steps, such as a rotation. Each evaluation then has"
        " other, harder images, so that the accuracy varies and is too low. Give the test images a transform without"
        " random steps.",
        find=images.test_images_augmented,
    ),
    Fault(
        code="CD04",
        title="the split shares the training transform",
        severity="fault",
        explanation="The parts of a split share one data set object, which has one transform. Random steps that are"
        " meant for training then change the validation images, too. Make the data set twice, with and without"
        " augmentation, and take a part of each.",
        find=images.shared_by_split,
    ),
    Fault(
        code="CD05",
        title="a transform is replaced for all parts of a split",
        severity="fault",
        explanation="The parts of a split share one data set object, so a transform that is set on one part is set for"
        " all of them. Training silently loses its augmentation, or validation gets it, and overfitting is then blamed"
        " on something else. Make the data set twice, each with its own transform, and take a part of each.",
        find=images.replaced_for_all_parts,
    ),
    Fault(
        code="CD06",
        title="test images are normalised differently from training images",
        severity="fault",
        explanation="The training and the test images are shifted and scaled by different numbers. The net gets a"
        " brightness and a contrast that it was not trained on, and its accuracy falls. Use the numbers of the training"
        " images in both transforms.",
        find=images.normalised_otherwise,
    ),
    Fault(
        code="CD07",
        title="training images are not shuffled",
        severity="warning",
        explanation="The training loader gives the images in the order of the file, the same in each epoch. Each epoch"
        " then has the same batches, and in a file sorted by class a batch has few classes, which makes each step"
        " noisier. Write shuffle=True for the training loader; it costs nothing.",
        find=images.not_shuffled,
    ),
    Fault(
        code="CD08",
        title="the seed is set after the split",
        severity="warning",
        explanation="The split draws its random numbers before the seed is set. Each run then trains and validates on"
        " other images, so that two runs with one seed differ. Set the seed first, or give the split a generator of its"
        " own.",
        find=images.seeded_after_split,
    ),
    Fault(
        code="CD09",
        title="no seed is set",
        severity="note",
        explanation="No line sets a seed for the random numbers. The same program gives another result each time, and a"
        " small improvement cannot be distinguished from chance. Set a seed at the top, and compare over several"
        " seeds.",
        find=images.never_seeded,
    ),
    Fault(
        code="CD10",
        title="the loss is summed over the batch",
        severity="fault",
        explanation="With reduction='sum' the loss adds up the images of a batch instead of averaging them. The"
        " gradient, and with plain SGD the step, is larger by the batch size, so that training explodes at a learning"
        " rate that looks small. Leave the reduction at its default, the mean.",
        find=losses.summed_in_training,
    ),
    Fault(
        code="CD11",
        title="softmax before the loss",
        severity="fault",
        explanation="The net ends in a softmax, and the loss needs another input. Cross entropy applies a softmax of"
        " its own, which makes gradients small, and the negative log-likelihood needs logarithms. Return the logits"
        " from the net and leave the rest to cross entropy.",
        find=losses.softmax_before_loss,
    ),
    Fault(
        code="CD12",
        title="the negative log-likelihood gets logits",
        severity="fault",
        explanation="nll_loss needs logarithms of probabilities, and gets the plain output of a layer. It then has no"
        " lower bound, so one output grows and the net does not learn the classes. Use cross_entropy, or log_softmax"
        " before nll_loss.",
        find=losses.logits_to_likelihood,
    ),
    Fault(
        code="CD13",
        title="log_softmax before cross entropy",
        severity="note",
        explanation="Cross entropy contains a log_softmax of its own, and the net has one, too. The second one changes"
        " nothing, since the probabilities add up to 1 already. Leave it out of the net, or use nll_loss, so that the"
        " code says what it does.",
        find=losses.log_softmax_before_loss,
    ),
    Fault(
        code="CD14",
        title="gradients are not set to zero in the loop",
        severity="fault",
        explanation="backward adds to the existing gradients, and nothing sets them to zero between two steps. Each"
        " step then follows the sum of all batches so far, and training soon diverges. Call optimizer.zero_grad() once"
        " per step, before backward.",
        find=training.gradients_not_cleared,
    ),
    Fault(
        code="CD15",
        title="gradients are set to zero before the step uses them",
        severity="fault",
        explanation="zero_grad is called between backward and step. The step then has gradients of zero, and the net"
        " does not change. The order is zero_grad, backward, step.",
        find=training.gradients_cleared_before_step,
    ),
    Fault(
        code="CD16",
        title="the optimizer steps, and backward is never called",
        severity="fault",
        explanation="The loss is computed, but its gradients are not. The optimizer then leaves the weights unchanged,"
        " without an error. Call loss.backward() before the step.",
        find=training.no_backward,
    ),
    Fault(
        code="CD17",
        title="the optimizer never steps",
        severity="fault",
        explanation="Gradients are computed and an optimizer is made, but its step is never called. The weights keep"
        " their initial values, and the accuracy stays at chance. Call optimizer.step() after backward.",
        find=training.no_step,
    ),
    Fault(
        code="CD18",
        title="the optimizer has the parameters of another net",
        severity="fault",
        explanation="The net is made a second time after the optimizer got its parameters. The optimizer then trains"
        " the first net, and the second, which is tested, does not learn. Make the optimizer after the net.",
        find=training.optimizer_of_another_net,
    ),
    Fault(
        code="CD19",
        title="the schedule steps before the optimizer",
        severity="warning",
        explanation="scheduler.step() is called before the training of the epoch. The first learning rate of the"
        " schedule is skipped, and each later one comes an epoch early. Call it at the end of the epoch.",
        find=training.schedule_before_optimizer,
    ),
    Fault(
        code="CD20",
        title="the schedule never steps",
        severity="warning",
        explanation="A schedule for the learning rate is made, but its step is never called. The learning rate stays at"
        " its first value, so that the loss still varies at the end. Call scheduler.step() once per epoch, or per batch"
        " where the schedule counts batches.",
        find=training.schedule_never_steps,
    ),
    Fault(
        code="CD21",
        title="model.eval() is missing in the evaluation",
        severity="fault",
        explanation="The net has dropout or batch norm, and is evaluated as if it were still training. Dropout then"
        " switches off parts of it and batch norm uses the statistics of the batch, so that the accuracy is not that of"
        " the net in use. Call model.eval() before the evaluation and model.train() after it.",
        find=evaluating.no_eval_mode,
    ),
    Fault(
        code="CD22",
        title="the evaluation stores what gradients would need",
        severity="note",
        explanation="The evaluation does not turn gradients off. The results are the same, but each batch takes more"
        " memory and time than it needs. Write the loop under torch.no_grad().",
        find=evaluating.gradients_in_evaluation,
    ),
    Fault(
        code="CD23",
        title="right answers are divided by the number of batches",
        severity="fault",
        explanation="The count of right answers is divided by len(loader), which counts batches. The result is too"
        " large by about the batch size, and can be over 100 %. Divide by len(loader.dataset), which counts images.",
        find=evaluating.accuracy_by_batches,
    ),
    Fault(
        code="CD24",
        title="the loss is divided twice",
        severity="fault",
        explanation="The loss of each batch already is a mean per image, and the sum of them is divided by the number"
        " of images once more. The result is too small by about the batch size, and cannot be compared with any other"
        " loss. Divide by the number of batches, or weight each batch by its size first.",
        find=losses.divided_twice,
    ),
    Fault(
        code="CD25",
        title="the loss of the last batch is reported for the epoch",
        severity="warning",
        explanation="The loss of the last batch is stored as the loss of the epoch. It varies from epoch to epoch by"
        " chance, and cannot be compared with the loss of all test images. Sum up the losses in the loop and divide"
        " once, after it.",
        find=losses.last_batch_reported,
    ),
    Fault(
        code="CD26",
        title="the best epoch is chosen on the test images",
        severity="warning",
        explanation="The epoch, or the net, with the best result on the test images is selected. The choice favours"
        " chance results, so that the test accuracy is higher than on new images. Choose on validation images, and look"
        " at the test images once.",
        find=evaluating.chosen_on_test,
    ),
    Fault(
        code="CD27",
        title="the sum of the losses keeps every graph in memory",
        severity="warning",
        explanation="The loss is added up as a tensor, which refers to the computation that it came from. Memory grows"
        " with each batch, until it is full. Add loss.item(), which is a plain number.",
        find=losses.kept_with_graph,
    ),
    Fault(
        code="CD28",
        title="a number is given to relu where a pool may be meant",
        severity="warning",
        explanation="The second argument of relu is inplace, and a number there counts as True. Nothing is pooled, so"
        " the images stay large and the layers after it cost more than intended. Call max_pool2d if a pool is meant,"
        " and give relu one argument.",
        find=nets.inplace_for_pool,
    ),
    Fault(
        code="CD29",
        title="dropout stays on in evaluation",
        severity="fault",
        explanation="F.dropout does not know whether the net trains or is evaluated; its default is to drop. The test"
        " then runs with parts of the net switched off, and model.eval() has no effect on it. Give it"
        " training=self.training, or use nn.Dropout.",
        find=nets.dropout_always_on,
    ),
    Fault(
        code="CD30",
        title="a layer is made and not used",
        severity="warning",
        explanation="__init__ makes a layer that no method of the net uses. Its parameters are counted and saved, but"
        " never trained or used. Delete it, or call it in forward.",
        find=nets.layers_not_used,
    ),
)


def fault(code: str) -> Fault:
    """The fault with a code, such as CD01; a KeyError where there is none."""
    return {one.code: one for one in FAULTS}[code]
