"""ADen: its losses, frames and symmetries by construction, and what a tiny network learns about symmetric objects."""

from __future__ import annotations

import math

import pytest
import torch
from fewview.recon.poses.networks.aden.aden_training import AdenSchedule, AdenTraining, PoseBatch
from fewview.recon.poses.networks.aden.config import AdenConfig
from fewview.recon.poses.networks.aden.grid_scorer import GridScorer, spread_rotations
from fewview.recon.poses.networks.aden.hypothesis_losses import (
    rotation_distance,
    soft_contrastive_loss,
    winner_loss,
)
from fewview.recon.poses.networks.aden.joint_selection import PairProposals, independent_poses, joint_poses
from fewview.recon.poses.networks.aden.model import Aden, PoseScorer
from fewview.recon.poses.networks.aden.pose_targets import after, axes_crossing, between, cameras_of, relative_poses
from fewview.scene.geometry import quat_from_rotation, quat_multiply, se3_from, se3_inverse, so3_exp
from support.threads import one_torch_thread as one_torch_thread
from support.tiny_aden import CHANNELS, CONFIG, TrainedTiny, tokens_of, trained, turned_camera, turntable
from torch import Tensor

RIGHT_DEG = 15.0


def cameras_at(n: int, seed: int = 0) -> Tensor:
    """cam_from_world [n, 4, 4] float64 round the origin, at distances 2 to 4, that look past it a little."""
    g = torch.Generator().manual_seed(seed)
    turn = so3_exp(torch.randn(n, 3, generator=g, dtype=torch.float64))
    shift = torch.cat([torch.randn(n, 2, generator=g) * 0.1, 2 + 2 * torch.rand(n, 1, generator=g)], 1)
    return se3_from(turn, shift.double())


def unit_quats(*shape: int, seed: int = 0) -> Tensor:
    q = torch.randn(*shape, 4, generator=torch.Generator().manual_seed(seed))
    return q / q.norm(dim=-1, keepdim=True)


def test_targets_do_not_depend_on_the_world_of_the_cameras() -> None:
    cameras = cameras_at(5)
    moved = se3_inverse(cameras)
    moved = se3_from(
        so3_exp(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)) @ moved[:, :3, :3],
        3.7 * moved[:, :3, 3] @ so3_exp(torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)).T + 11.0,
    )
    before, after_ = relative_poses(cameras), relative_poses(se3_inverse(moved))
    # The small ridge that keeps parallel axes solvable does not scale with the scene's square: 1e-4 of one.
    assert torch.allclose(before, after_, atol=1e-6)


def test_the_first_pose_is_at_distance_one_and_poses_are_those_of_the_cameras() -> None:
    cameras = cameras_at(4)
    poses = relative_poses(cameras)
    assert poses[0, :4].tolist() == pytest.approx([1, 0, 0, 0], abs=1e-12)
    assert float(poses[0, 4:].norm()) == pytest.approx(1.0)
    rebuilt = cameras_of(poses)
    relative = rebuilt @ se3_inverse(rebuilt[:1])
    true = cameras @ se3_inverse(cameras[:1])
    scale = float((cameras[0, :3, :3] @ axes_crossing(cameras) + cameras[0, :3, 3]).norm())
    assert torch.allclose(relative[:, :3, :3], true[:, :3, :3])
    assert torch.allclose(relative[:, :3, 3] * scale, true[:, :3, 3], atol=1e-9)


def test_another_reference_changes_poses_by_the_relative_transform() -> None:
    cameras = turned_camera(torch.tensor([0.0, 0.7, 2.0, 4.0], dtype=torch.float64).float()).double()
    poses = relative_poses(cameras)
    swapped = relative_poses(cameras[[2, 0, 1, 3]])
    ours = between(poses[[2, 0, 1, 3]], poses[2].expand(4, 7))
    assert float(rotation_distance(ours[:, :4], swapped[:, :4]).max()) < 1e-6  # of the norm's floor, 1e-7
    assert torch.allclose(ours[:, 4:], swapped[:, 4:], atol=1e-6)
    back = after(ours, poses[2].expand(4, 7))
    assert torch.allclose(back[:, 4:], poses[[2, 0, 1, 3], 4:], atol=1e-6)


def test_rotation_distance_is_the_angle_and_blind_to_sign() -> None:
    axis = torch.nn.functional.normalize(torch.tensor([[1.0, 2.0, -0.5]], dtype=torch.float64), dim=1)
    for degrees in (0.001, 30.0, 179.0):
        a = quat_from_rotation(so3_exp(axis * 0.4))
        b = quat_from_rotation(so3_exp(axis * (0.4 + math.radians(degrees))))
        assert math.degrees(float(rotation_distance(a, b))) == pytest.approx(degrees, abs=1e-4)
        assert float(rotation_distance(a, -b)) == pytest.approx(float(rotation_distance(a, b)))


@pytest.mark.parametrize("degrees", [0.0, 180.0])
def test_rotation_distance_has_finite_slopes_at_its_ends(degrees: float) -> None:
    a = torch.tensor([1.0, 0, 0, 0], requires_grad=True)
    half = math.radians(degrees) / 2
    rotation_distance(a, torch.tensor([math.cos(half), math.sin(half), 0, 0])).backward()
    assert bool(torch.isfinite(a.grad).all())


def test_scores_do_not_change_with_the_sign_of_a_quaternion() -> None:
    torch.manual_seed(0)
    scorer = PoseScorer(16, 32)
    torch.nn.init.normal_(scorer.out.weight)
    poses = torch.cat([unit_quats(3, 20), torch.randn(3, 20, 3)], -1)
    flipped = poses * torch.tensor([-1.0, -1, -1, -1, 1, 1, 1])
    fused = torch.randn(3, 16)
    assert float(scorer(fused, poses).detach().std()) > 0.01
    assert torch.allclose(scorer(fused, poses), scorer(fused, flipped), atol=1e-5)  # float32 sums of 200 sines


def some_batch(mode: str, hypotheses: int = 500) -> tuple[Aden, AdenTraining, PoseBatch]:
    torch.manual_seed(0)
    config = AdenConfig(**{**CONFIG.as_dict(), "hypotheses": hypotheses})
    network = Aden(config, CHANNELS)
    task = AdenTraining(turntable(1, 10), network, AdenSchedule(hypotheses=hypotheses, mode=mode, photographs=8))
    return network, task, task.batch(0)


def test_the_truth_is_no_candidate_in_robust_mode() -> None:
    """Otherwise it is told from the proposals by what kind of pose it is, without a look at the photographs."""
    network, _, batch = some_batch("robust", 32)
    found = network(batch.tokens, batch.descriptors, batch.truth, batch.chance)
    assert found.candidates.shape[1] == 32 + 3  # and a tenth by chance
    nearest = rotation_distance(found.candidates[..., :4], found.truth[:, None, :4]).min(1).values
    assert float(nearest.min()) > 1e-3


def test_the_discriminator_begins_at_the_logarithm_of_its_candidates() -> None:
    network, task, batch = some_batch("paper")
    losses = task.loss(network, batch)
    assert float(losses["discriminator"].detach()) == pytest.approx(math.log(501), abs=0.05)


def test_one_hypothesis_of_each_photograph_learns_in_paper_mode() -> None:
    network, _, batch = some_batch("paper", 32)
    found = network(batch.tokens, batch.descriptors, batch.truth, batch.chance)
    winner_loss(found.winners, found.truth).backward()
    learned = network.generator.base.grad.abs().sum(1).nonzero()[:, 0].tolist()
    assert set(learned) == set(found.winning_query.tolist())
    nearest = rotation_distance(found.poses[..., :4], found.truth[:, None, :4]).argmin(1)
    assert torch.equal(batch.chance.queries[nearest], found.winning_query)
    assert found.winners.shape[1] == 1


def test_the_discriminator_teaches_the_generator_nothing() -> None:
    network, task, batch = some_batch("robust", 32)
    network.scorer.out.weight.data.normal_()
    task.loss(network, batch)["discriminator"].backward()
    assert all(p.grad is None for p in network.generator.parameters())
    assert float(network.scorer.from_pose.weight.grad.abs().sum()) > 0


def test_soft_targets_prefer_what_is_nearest_to_the_truth() -> None:
    truth = torch.cat([unit_quats(1), torch.tensor([[0.0, 0, 1]])], 1)
    poses = truth[:, None].repeat(1, 3, 1)
    turn = torch.tensor([math.cos(math.radians(5)), math.sin(math.radians(5)), 0, 0])
    poses[:, 1, :4] = quat_multiply(turn, truth[:, :4])  # by 10 degrees, an e-fold
    poses[:, 2, 4:] += 100  # as far away as a translation can be
    best = torch.tensor([[0.0, -1.0, -100.0]])  # the logarithms of the targets
    lowest = float(soft_contrastive_loss(best, truth, poses))
    share = 1 / (1 + math.exp(-1))
    assert lowest == pytest.approx(-share * math.log(share) - (1 - share) * math.log(1 - share), abs=1e-4)
    for other in ([0.0, 0, -100], [-1.0, 0, -100], [0.0, -1, 0], [3.0, 0, -100]):
        assert float(soft_contrastive_loss(torch.tensor([other]), truth, poses)) > lowest + 0.01


def test_permuting_photographs_permutes_what_is_said_of_them() -> None:
    torch.manual_seed(0)
    network = Aden(CONFIG, CHANNELS).eval()
    tokens, descriptors = torch.randn(1, 5, 1, CHANNELS), torch.randn(1, 5, 3)
    order = [0, 3, 1, 4, 2]
    with torch.no_grad():
        one, other = network.fusion(tokens, descriptors), network.fusion(tokens[:, order], descriptors[:, order])
    assert torch.allclose(one[:, [k - 1 for k in order[1:]]], other, atol=1e-5)  # sums of float32 in another order


def test_the_super_fibonacci_spiral_leaves_no_gaps() -> None:
    """The nearest of 500 even rotations is about 19 degrees away, of 5000 about 9 (6 pi / M)^(1/3)."""
    asked = unit_quats(200, seed=5)
    for count in (500, 5000):
        nearest = rotation_distance(asked[:, None], spread_rotations(count)[None]).min(1).values
        typical = (6 * math.pi / count) ** (1 / 3)
        assert 0.4 * typical < float(nearest.median()) < 1.1 * typical
        assert float(nearest.max()) < 2.5 * typical


def test_the_grid_scorer_puts_the_truth_before_others_and_finds_the_best_of_a_grid() -> None:
    torch.manual_seed(0)
    scorer, truth = GridScorer(6, 32), unit_quats(6, seed=2)
    fused = 3 * torch.eye(6)
    optimizer = torch.optim.Adam(scorer.parameters(), 5e-3)
    for step in range(60):
        loss = scorer.loss(fused, truth, unit_quats(128, seed=step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    grid = unit_quats(1000, seed=99)
    with torch.no_grad():
        scores, own = scorer.scorer(fused, grid), scorer.scorer(fused, truth[:, None])
    # By chance the truth would be before half of them; each of six photographs has learned its own.
    assert bool(((scores < own).float().mean(1) > 0.8).all())
    assert torch.equal(scorer.best(fused, grid), grid[scores.argmax(1)])


@pytest.fixture(scope="module")
def two_fold() -> TrainedTiny:
    with torch.random.fork_rng():
        return trained(turntable(2), is_spread=False)


@pytest.fixture(scope="module")
def one_fold() -> TrainedTiny:
    with torch.random.fork_rng():
        return trained(turntable(1))


def proposals(network: Aden, fold: int, count: int = 80) -> tuple[Tensor, Tensor, Tensor]:
    """Proposed poses [V, M, 7], their shares [V, M], and distances in degrees [V, M, fold] to each equal side."""
    angle = torch.rand(count, 2, generator=torch.Generator().manual_seed(77)) * 2 * torch.pi
    descriptors = torch.tensor([0.0, 0.0, 1.0]).expand(count, 2, 3)
    with torch.no_grad():
        poses, logits = network.propose(network.fusion(tokens_of(angle, fold), descriptors)[:, 0])
    sides = torch.arange(fold) * (2 * torch.pi / fold)
    turn = so3_exp(((angle[:, 1] - angle[:, 0])[:, None] + sides)[..., None] * torch.tensor([0.0, 1, 0]))
    distance = rotation_distance(poses[:, :, None, :4], quat_from_rotation(turn)[:, None])
    return poses, logits.softmax(-1), torch.rad2deg(distance)


def test_both_sides_of_a_two_fold_object_are_proposed_and_believed(two_fold: TrainedTiny) -> None:
    _, share, distance = proposals(two_fold.network, 2)
    covered = (distance < RIGHT_DEG).any(1).all(1)
    assert float(covered.float().mean()) >= 0.95
    mass = (share[..., None] * (distance < 30)).sum(1)  # [V, 2]
    assert float(mass.sum(1).mean()) > 0.6  # little is believed elsewhere
    balance = mass.mean(0) / mass.mean()
    assert bool(((balance - 1).abs() < 0.2).all())
    # One of the two is chosen, and which of them the frame shows is chance: right half of the time.
    chosen = distance[torch.arange(len(share)), share.argmax(1)]
    assert 0.2 < float((chosen[:, 0] < 30).float().mean()) < 0.7


def test_one_regressed_pose_cannot_say_two(two_fold: TrainedTiny) -> None:
    one = AdenConfig(**{**CONFIG.as_dict(), "hypotheses": 1})
    with torch.random.fork_rng():
        regression = trained(turntable(2), one, mode="paper")
    _, _, distance = proposals(regression.network, 2)
    true_side = distance[:, 0, 0]
    assert 60 < float(true_side.mean()) < 120  # 90 on average, wherever between the two it ends


def test_an_object_without_symmetry_is_known_better_than_by_chance(one_fold: TrainedTiny) -> None:
    _, share, distance = proposals(one_fold.network, 1)
    rows = torch.arange(len(share))
    chosen = (distance[rows, share.argmax(1), 0] < RIGHT_DEG).float().mean()
    best = (distance[..., 0].min(1).values < RIGHT_DEG).float().mean()
    assert float(best) > 0.95
    # A turn by chance is right in one of twelve. So short a training learns how far a turn is before its sense, and the
    # two senses are right as often as one another.
    assert float(chosen) > 0.35
    mass = (share * (distance[..., 0] < 30)).sum(1).mean()
    assert float(mass) > 0.35
    entropy = -(share * share.clamp_min(1e-12).log()).sum(1).mean()
    assert float(entropy) < 0.75 * math.log(CONFIG.hypotheses)


def test_more_hypotheses_are_never_worse_at_best(one_fold: TrainedTiny) -> None:
    _, _, distance = proposals(one_fold.network, 1)
    medians = [float(distance[:, :m, 0].min(1).values.median()) for m in (1, 4, 16, 64)]
    assert medians == sorted(medians, reverse=True)
    assert medians[-1] < 10  # 64 rotations spread evenly would have one within 38


def test_shuffled_photographs_teach_the_discriminator_nothing() -> None:
    data = turntable(1)
    order = torch.randperm(data.tokens.shape[0] * data.tokens.shape[1], generator=torch.Generator().manual_seed(3))
    shuffled = type(data)(data.tokens.flatten(0, 1)[order].view_as(data.tokens), data.descriptors, data.cam_from_world)
    with torch.random.fork_rng():
        network = trained(shuffled, mode="paper").network
    task = AdenTraining(shuffled, network, AdenSchedule(hypotheses=64, mode="paper", photographs=200, seed=8))
    with torch.no_grad():
        loss = float(task.loss(network, task.batch(0))["discriminator"])
    # Among 65 candidates chance costs 4.17; the truth must not be recognised by what kind of pose it is.
    assert loss > math.log(65) - 0.7


class Told:
    """A network that is told what it thinks of each pair of photographs: modes and their logits."""

    def __init__(self, modes: Tensor, logits: Tensor) -> None:
        self.modes, self.logits = modes, logits  # [N * N, k, 7], [N * N, k]

    def scorer(self, rows: Tensor, poses: Tensor, evidence: None = None) -> Tensor:
        """High near a mode, and falling by one for each degree."""
        modes, logits = (values[rows[:, 0].long()][:, None] for values in (self.modes, self.logits))
        distance = torch.rad2deg(rotation_distance(poses[:, :, None, :4], modes[..., :4]))
        return (logits - distance).max(-1).values


def told_pairs(angles: Tensor, mistaken: set[tuple[int, int]]) -> PairProposals:
    """Pairs that know the truth and a pose half a turn away; those mistaken take that for the better one."""
    count = len(angles)
    rows = [(a, b) for a in range(count) for b in range(count)]
    true, other = (
        torch.stack([relative_poses(turned_camera(angles[[a, b]] + turn).double())[1].float() for a, b in rows])
        for turn in (torch.tensor([0.0, 0.0]), torch.tensor([0.0, torch.pi]))
    )
    modes = torch.stack([true, other], 1)
    logits = torch.tensor([[0.0, 1.0] if pair in mistaken else [3.0, 0.0] for pair in rows])
    fused = torch.arange(float(len(rows)))[:, None]
    return PairProposals(Told(modes, logits), count, fused, modes, logits.log_softmax(1), logits.logsumexp(1))


def test_all_pairs_together_overrule_one_that_is_mistaken() -> None:
    angles = torch.tensor([0.3, 1.1, 2.6, 4.0])
    true = relative_poses(turned_camera(angles).double()).float()
    for mistaken in (set(), {(0, 2), (2, 0)}, {(0, 1), (3, 0)}):
        pairs = told_pairs(angles, mistaken)
        found = joint_poses(pairs)
        # The world of N photographs is that of its pairs here, where all axes cross in one point.
        assert float(rotation_distance(found[:, :4], true[:, :4]).max()) < 1e-3
        assert torch.allclose(found[:, 4:], true[:, 4:], atol=1e-3)
        assert 0.9 < pairs.belief(1, 2, between(found[2], found[1])) <= 1
    alone = told_pairs(angles, {(0, 2), (2, 0)}).top(0, 2, 1)[0]
    assert float(rotation_distance(alone[:4], true[2, :4])) > 3  # which that pair alone gets wrong by half a turn


def test_each_by_itself_is_the_best_of_its_own_proposals(one_fold: TrainedTiny) -> None:
    tokens, descriptors = tokens_of(torch.tensor([0.3, 1.1, 2.6]), 1), torch.tensor([0.0, 0, 1]).expand(3, 3)
    found = independent_poses(one_fold.network, tokens, descriptors)
    assert found[0].tolist() == [1, 0, 0, 0, 0, 0, 1]
    with torch.no_grad():
        fused = one_fold.network.fusion(tokens[None], descriptors[None])[0]
        poses, logits = one_fold.network.propose(fused)
    for view in (1, 2):
        assert torch.equal(found[view], poses[view - 1, logits[view - 1].argmax()])
