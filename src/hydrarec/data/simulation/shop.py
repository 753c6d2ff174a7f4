"""The simulated shop: what it sells, and the series that its items lie on."""

from dataclasses import dataclass

import numpy as np

from hydrarec.errors import InputError

_AISLES: tuple[dict[str, str], ...] = (
    {
        "Kitchen": "skillet,saucepan,chef's knife,cutting board,whisk,mixing bowl,colander,kettle",
        "Garden": "trowel,watering can,seed tray,pruning shears,planter,trellis,garden hose,rake",
        "Workshop": "claw hammer,screwdriver set,hand plane,vice,spirit level,chisel,tape measure,clamp",
        "Camping": "tent,sleeping bag,camp stove,head torch,dry bag,hammock,water filter,mess kit",
        "Cycling": "bell,saddle bag,bicycle pump,chain tool,bottle cage,mudguard,rear light,handlebar tape",
        "Bedroom": "duvet cover,pillow,mattress topper,blanket,bedside lamp,quilt,sheet set,throw",
        "Bathroom": "bath towel,soap dish,bath mat,shower caddy,robe,mirror,toothbrush holder,laundry basket",
        "Office": "desk lamp,paper tray,desk mat,pen holder,monitor stand,letter opener,stapler,wall planner",
        "Fitness": "kettlebell,yoga mat,skipping rope,foam roller,pull-up bar,resistance band,dumbbell,step",
        "Fishing": "fly rod,reel,tackle box,landing net,waders,lure set,bite alarm,folding chair",
        "Sewing": "fabric shears,thread set,embroidery hoop,pin cushion,bobbin case,pattern book,seam ripper,zip set",
        "Lighting": "pendant lamp,floor lamp,string lights,wall sconce,lantern,reading light,candle holder,dimmer",
    },
    {
        "Crime novels": "murder,alibi,witness,cold case,verdict,inheritance,lighthouse,informer",
        "Science fiction": "starship,colony,signal,android,eclipse,exile,horizon,archive",
        "Cookbooks": "breads,soups,curries,pickles,pastries,grills,salads,puddings",
        "History": "empire,revolution,siege,dynasty,voyage,treaty,uprising,frontier",
        "Travel": "islands,mountains,railways,deserts,rivers,coasts,pilgrimage,backroads",
        "Board games": "trading game,dungeon game,tile game,word game,card game,railway game,party game,strategy game",
        "Puzzles": "jigsaw,crossword book,logic cube,sudoku book,maze book,tangram,riddle box,brain teaser",
        "Jazz": "quartet,sessions,ballads,big band,trio,live album,solo piano,anthology",
        "Classical": "symphony,concerto,sonatas,string quartets,requiem,nocturnes,overtures,preludes",
        "Films": "western,heist film,romance,documentary,thriller,comedy,musical,war film",
        "Comics": "graphic novel,omnibus,first volume,second volume,third volume,annual,collection,one-shot",
        "Poetry": "elegies,sonnets,odes,haiku,selected poems,love poems,ballad book,lyrics",
    },
)
_STAPLES = (
    "coffee,tea,rice,pasta,olive oil,oats,honey,flour,salt,sugar,beans,lentils,jam,mustard,soap,shampoo,"
    "toothpaste,dish soap,bin bags,kitchen roll,batteries,light bulbs,candles,matches"
)
_MAKERS = "Juniper,Harbour,Northfield,Copper,Willow,Granite,Amber,Meadow,Atlas,Linden,Orchard,Sable,Fjord,Cinder"


@dataclass(frozen=True, kw_only=True)
class ShopConfig:
    """The shop.

    Attributes:
        n_items: size of the catalog.
        categories: categories in each of the two aisles, at most 12; items spread evenly over them.
        staple_share: share of the catalog that is bought again and again, such as coffee.
        series: series in each category. series_length: items on each.
        tail: items of a category are drawn with weight rank^-tail; so are categories.
    """

    n_items: int = 1500
    categories: int = 12
    staple_share: float = 0.04
    series: int = 5
    series_length: int = 30
    tail: float = 0.8

    def __post_init__(self) -> None:
        if not 1 <= self.categories <= len(_AISLES[0]):
            raise InputError(f"categories is {self.categories}; it must lie between 1 and {len(_AISLES[0])}")
        if self.smallest < 3 or self.series < 1 or self.series_length < 3:
            raise InputError("a shop needs a series, of three items at least, in every category; give it more items")

    @property
    def n_staples(self) -> int:
        return max(1, round(self.staple_share * self.n_items))

    @property
    def smallest(self) -> int:
        """Items of the smallest category."""
        return (self.n_items - self.n_staples) // (2 * self.categories)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shop:
    """Everything that does not change while people shop; I items, C categories, S staples, N series of length M.

    Attributes:
        titles: I titles. categories: I names.
        category: (I,) number of each item's category, -1 for a staple.
        weight: (I,) chance of an item within its category, or among the staples.
        aisle: (C,) 0 or 1. category_weight: (C,) chance of a category within its aisle.
        staples: (S,) item rows.
        series: (N, M) item rows; no item follows the same item on two series.
    """

    titles: list[str]
    categories: list[str]
    category: np.ndarray
    weight: np.ndarray
    aisle: np.ndarray
    category_weight: np.ndarray
    staples: np.ndarray
    series: np.ndarray


def open_shop(config: ShopConfig, generator: np.random.Generator) -> Shop:
    """Stock a shop at random."""
    names = [list(aisle.items())[: config.categories] for aisle in _AISLES]
    n_categories = 2 * config.categories
    category = np.full(config.n_items, -1)
    category[config.n_staples :] = np.arange(config.n_items - config.n_staples) % n_categories
    generator.shuffle(category)
    weight = np.zeros(config.n_items)
    for number in range(-1, n_categories):
        rows = np.flatnonzero(category == number)
        weight[rows] = generator.permutation(_zipf(len(rows), config.tail))
    flat = [*names[0], *names[1], ("Staples", _STAPLES)]
    by_name = [flat[number][0] for number in category]
    return Shop(
        titles=_titles(category, [nouns.split(",") for _, nouns in flat], generator),
        categories=by_name,
        category=category,
        weight=weight,
        aisle=np.repeat([0, 1], config.categories),
        category_weight=np.concatenate([generator.permutation(_zipf(config.categories, config.tail)) for _ in names]),
        staples=np.flatnonzero(category == -1),
        series=np.concatenate(
            [_series(np.flatnonzero(category == number), weight, config, generator) for number in range(n_categories)]
        ),
    )


def _zipf(n: int, exponent: float) -> np.ndarray:
    weights = np.arange(1, n + 1) ** -exponent
    normalised: np.ndarray = weights / weights.sum()
    return normalised


def _series(rows: np.ndarray, weight: np.ndarray, config: ShopConfig, generator: np.random.Generator) -> np.ndarray:
    """(series, length) orders of a category's items. Popular items lie on more of them than others."""
    length = min(config.series_length, config.smallest)
    taken: set[tuple[int, int]] = set()
    result: list[np.ndarray] = []
    for _ in range(1000 * config.series):
        if len(result) == config.series:
            break
        order = generator.choice(rows, length, replace=False, p=weight[rows] / weight[rows].sum())
        order = generator.permutation(order)
        steps = set(zip(order[:-1].tolist(), order[1:].tolist(), strict=True))
        if steps.isdisjoint(taken):
            taken |= steps
            result.append(order)
    return np.array(result, np.int64).reshape(len(result), length)


def _titles(category: np.ndarray, nouns: list[list[str]], generator: np.random.Generator) -> list[str]:
    """A title for every item: a maker and a noun of its category, numbered when the pairs run out."""
    titles = np.empty(len(category), object)
    for number in np.unique(category).tolist():
        pairs = [f"{maker} {noun}" for maker in _MAKERS.split(",") for noun in nouns[number]]
        rows = np.flatnonzero(category == number)
        for start in range(0, len(rows), len(pairs)):
            part = rows[start : start + len(pairs)]
            edition = f" no. {start // len(pairs) + 1}" if start else ""
            chosen = generator.permutation(len(pairs))[: len(part)]
            titles[part] = [pairs[pair] + edition for pair in chosen]
    return list(titles)
