"""Gradients of several processes, summed: afterwards each holds those of the whole batch."""

import math

import torch
from torch import Tensor, nn

from hydrarec import processes
from hydrarec.items.rows import RowTable, RowwiseAdagrad
from hydrarec.items.sharded import ShardedTable

_LARGE = 1 << 18  # numbers; what is larger is sent by itself, without a copy


@torch.no_grad()
def sum_gradients(model: nn.Module, rows: RowwiseAdagrad, loss: Tensor) -> float:
    """Sum the gradients of parameters and of the rows that were read, and ``loss`` (), which is returned.

    Of a parameter that no process has a gradient of, none is made. The sums are the same bits in all processes; those
    of a sharded table's rows come to the process that has them.
    """
    sharded = [module for module in model.modules() if isinstance(module, ShardedTable)]
    for shards in sharded:
        shards.hand_over()
    if processes.world() == 1:
        return float(loss)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    used = torch.tensor([float(parameter.grad is not None) for parameter in learned], device=loss.device)
    for parameter in learned:
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.contiguous()
    small = [p.grad for p in learned if p.grad is not None and p.numel() <= _LARGE]
    for parameter in learned:
        if parameter.grad is not None and parameter.numel() > _LARGE:
            processes.total(parameter.grad)
    flat = processes.total(torch.cat([loss.detach().reshape(1), used, *(grad.reshape(-1) for grad in small)]))
    value, used, *sums = flat.split([1, len(used), *(grad.numel() for grad in small)])
    for grad, summed in zip(small, sums, strict=True):
        grad.copy_(summed.view_as(grad))
    for parameter, count in zip(learned, used.tolist(), strict=True):
        parameter.grad = parameter.grad if count else None
    for table in rows.tables:
        if not any(table is shards.shard for shards in sharded):
            _sum_rows(table)
    return float(value)


@torch.no_grad()
def clip(model: nn.Module, rows: RowwiseAdagrad, most: float) -> float:
    """Shrink all gradients so that their norm, which is returned, is at most ``most``; 0 only measures it."""
    apart = [module.shard for module in model.modules() if isinstance(module, ShardedTable)]
    of_shards = [leaf for table in apart if (leaf := table.merge()) is not None]
    learned = [*model.parameters(), *rows.leaves()]
    if not apart:
        return float(nn.utils.clip_grad_norm_(learned, most or math.inf))
    ours = {id(leaf) for leaf in of_shards}
    shared = nn.utils.get_total_norm([p.grad for p in learned if p.grad is not None and id(p) not in ours])
    own = nn.utils.get_total_norm([leaf.grad for leaf in of_shards if leaf.grad is not None])
    norm = (shared.square().cpu() + processes.total(own.square().reshape(1).cpu())[0]).sqrt()
    nn.utils.clip_grads_with_norm_(learned, most or math.inf, norm.to(shared.device))
    return float(norm)


def _sum_rows(table: RowTable) -> None:
    """Let ``table`` have lent what it lent in all processes."""
    leaf = table.merge()
    rows = table.lent[0][0] if leaf is not None else torch.zeros(0, dtype=torch.int64, device=table.squares.device)
    gradient = leaf.grad if leaf is not None and leaf.grad is not None else rows.new_zeros(0, table.width).float()
    counts = processes.gather(torch.tensor([len(rows)]))
    if all(int(count) == table.n_items for count in counts):  # the full softmax: as dense as a parameter's
        processes.total(gradient)
        return
    everyone = zip(processes.gather(rows), processes.gather(gradient), strict=True)
    table.lend_again([(each, its) for each, its in everyone if len(each)])
