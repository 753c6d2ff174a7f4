"""The page in a real browser, against a real server: nothing of it is faked, nothing leaves the machine."""

import os
import re
import shutil
from pathlib import Path

import httpx
import pytest
from events import FIRST, ITEMS
from serving import KEY, post, served

PLACES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PICTURES = os.environ.get("HYDRAREC_TEST_PICTURES")  # a folder; pictures of the page are left there


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PLACES)), None)
    if found is None:
        pytest.skip("there is no Chromium; name one in CHROMIUM")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def server(readers, tmp_path_factory):
    with served(readers["text"].run.path, "--state", tmp_path_factory.mktemp("page")) as server:
        post(server.client, *[("regular", item, FIRST + item, str(item)) for item in (3, 4, 5)])
        yield server


class Visit:
    """A page that is open, and all that the browser said and asked for meanwhile."""

    def __init__(self, browser, url, **how):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **how})
        self.page = self.context.new_page()
        self.page.set_default_timeout(60_000)
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)

    def texts(self, selector):
        return self.page.locator(selector).all_text_contents()

    def wait(self, selector, text):
        self.page.locator(selector, has_text=re.compile(text)).first.wait_for()

    def items(self, of):
        return [int(button.get_attribute("data-item")) for button in self.page.locator(f"#{of} button").all()]

    def after(self, events):
        """Until so many events are answered for."""
        self.page.locator("#said", has_text=re.compile(rf"after {events} events")).wait_for(state="attached")

    def picture(self, name):
        if PICTURES:
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


@pytest.fixture
def visit(browser, server):
    visits = []

    def begin(**how):
        visits.append(Visit(browser, server.url, **how))
        visits[-1].wait("#found button", "")
        while not visits[-1].page.input_value("#user"):  # a new one, to begin with
            visits[-1].page.wait_for_timeout(20)
        return visits[-1]

    yield begin
    for each in visits:
        each.context.close()
        assert each.said == []  # no error, nothing that the policy has stopped
        assert all(url.startswith(server.url) for url in each.asked)


def test_a_new_user_clicks_through_a_session(visit, server):
    shop = visit()
    user = shop.page.input_value("#user")
    assert re.fullmatch(r"visitor-\w+", user)
    assert shop.texts("#best button") == []
    shop.page.fill("#query", "CAFE eclairs")
    shop.wait("#found button", "Éclairs")
    shop.page.locator("#found li").nth(2).wait_for(state="detached")
    assert shop.items("found") == [3, 11]
    shop.page.locator("#found button").first.click()
    shop.after(1)
    assert server.client.get(f"/users/{user}/state").json()["events"] == 1
    sizes = [shop.page.text_content("#bytes")]
    for events in (2, 3, 4):
        before = shop.items("best")
        shop.page.locator("#best button").nth(1).click()
        shop.after(events)
        assert before[1] not in shop.items("best")  # it was clicked
        assert shop.items("best") != before
        sizes.append(shop.page.text_content("#bytes"))
        assert len(shop.texts("#history li")) == events
    assert len(set(sizes)) == 1
    assert re.fullmatch(r"[\d,]+ bytes", sizes[0])
    query = {"k": 10, "exclude_seen": True, "at": server.client.get(f"/users/{user}/state").json()["last"]}
    answer = server.client.get(f"/users/{user}/recommendations", params=query).json()
    assert shop.items("best") == [each["item"] for each in answer["recommendations"]]
    scores = [float(re.match(r"-?[\d.]+", score)[0]) for score in shop.texts("#best .score")]
    assert scores == pytest.approx([each["score"] for each in answer["recommendations"]], abs=0.006)
    assert shop.page.text_content("#events") == "4"
    rows = shop.texts("#log tbody tr")
    assert len(rows) == 4
    assert len({row.split(".")[-1][1:] for row in rows}) == 1  # the state's size
    assert re.fullmatch(r"[\d.]+ ms", shop.page.text_content("#latency"))
    shop.page.uncheck("#unseen")
    shop.page.locator("#best button[data-item='3']").wait_for()
    shop.picture("light")


def test_the_time_of_the_request(visit):
    shop = visit()
    assert shop.page.locator("#later").is_disabled()
    shop.page.locator("#found button").first.click()
    shop.after(1)
    before = shop.texts("#best .score")
    shop.page.focus("#later")
    for answers in range(1, 6):
        shop.page.keyboard.press("ArrowRight")
        shop.page.locator("#log tbody tr").nth(answers).wait_for()  # a list that comes late would swallow a click
    shop.wait("#later-text", "a day later")
    assert "a day later" in shop.page.get_attribute("#later", "aria-valuetext")
    assert shop.texts("#best .score") != before
    assert not shop.page.locator("#later-note").is_visible()  # this model reads time
    shop.page.locator("#best button").first.click()  # a click a day later
    shop.after(2)
    shop.wait("#later-text", "right after the last click")


def test_an_existing_user_and_erasure(visit, server):
    shop = visit()
    shop.page.fill("#user", "regular")
    shop.page.keyboard.press("Enter")
    shop.after(3)
    assert shop.texts("#history li") == ["שלום עולם", "Tea", "Éclairs au café"]
    assert "2020" in shop.texts("#later-text")[0]  # the time of the last event, not of the clock
    shop.page.on("dialog", lambda dialog: dialog.accept())
    shop.page.click("#forget")
    shop.wait("#events", "^0$")
    shop.page.locator("#best button").first.wait_for(state="detached")
    assert server.client.get("/users/regular/recommendations").status_code == 404
    assert shop.page.locator("#no-history").is_visible()


def test_by_keyboard_alone(visit):
    shop = visit()
    press = shop.page.keyboard.press
    focused = shop.page.locator(":focus")
    order = []
    for _ in range(6):
        press("Tab")
        order.append(focused.get_attribute("id"))
    assert order == ["user", None, "new-user", "forget", "query", None]
    press("Enter")
    shop.after(1)
    assert focused.count() == 1  # still on a button, not lost with the list
    for _ in range(30):
        if focused.evaluate("each => each.closest('#best') !== null"):
            break
        press("Tab")
    first = shop.items("best")[0]
    assert int(focused.get_attribute("data-item")) == first
    press("Enter")
    shop.after(2)
    assert focused.evaluate("each => each.closest('#best') !== null")
    assert focused.evaluate("each => getComputedStyle(each).outlineStyle") == "solid"


def test_what_a_screen_reader_is_told(visit):
    shop = visit()
    page = shop.page
    shop.page.locator("#found button").first.click()
    shop.after(1)
    for role, name in (
        ("textbox", "Name of a new or an existing user"),
        ("searchbox", "Search by title, id or any other column"),
        ("slider", "Time of the request"),
        ("checkbox", "Leave out what was clicked"),
        ("button", "New user"),
        ("list", "Recommendations, best first; a button is a click of the user"),
        ("region", "What it takes"),
        ("table", "Answers so far, as this browser saw them"),
        ("heading", "Recommendations"),
    ):
        assert page.get_by_role(role, name=name, exact=True).count() == 1, name
    assert page.get_by_role("heading", level=1).count() == page.get_by_role("main").count() == 1
    (told,) = page.get_by_role("status").all_text_contents()
    assert re.match(r"10 recommendations after 1 events, in [\d.]+ ms\. The first: .", told)
    assert page.evaluate("document.documentElement.lang") == "en"
    unnamed = (
        "each => [...each.querySelectorAll('button, input')].filter(one => !one.textContent && !one.labels?.length)"
    )
    assert page.locator("body").evaluate(f"each => ({unnamed})(each).length") == 0


LUMINANCE = """each => {
  const linear = (part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => linear(part / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let back = each;
  while (getComputedStyle(back).backgroundColor === "rgba(0, 0, 0, 0)") back = back.parentElement;
  const [a, b] = [light(getComputedStyle(each).color), light(getComputedStyle(back).backgroundColor)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(visit, scheme):
    shop = visit(color_scheme=scheme)
    for events in (1, 2):
        shop.page.locator("#found button").nth(events).click()
        shop.after(events)
    back = shop.page.locator("body").evaluate("each => getComputedStyle(each).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", back)[:3])) > 380) == (scheme == "light")
    for selector in (
        "h1",
        "header p",
        "label",
        "#forget",
        "form button",
        ".about",
        ".score",
        ".place",
        ".moved",
        "th",
        "td",
        "dt",
    ):
        for each in shop.page.locator(selector).all():
            if each.is_visible() and each.text_content():
                assert each.evaluate(LUMINANCE) >= 4.5, selector
    shop.picture(scheme)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_on_a_phone_nothing_is_cut_off_and_all_can_be_touched(visit, width):
    shop = visit(viewport={"width": width, "height": 740}, has_touch=True, is_mobile=True)
    shop.page.locator("#found button").first.tap()
    shop.after(1)
    shop.page.locator("#best button").first.tap()
    shop.after(2)
    assert shop.page.evaluate("document.documentElement.scrollWidth") <= width
    for button in shop.page.locator("button:visible").all():
        box = button.bounding_box()
        assert box["height"] >= 40
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
    shop.picture(f"phone-{width}")


def test_what_an_item_is_called_stays_text(visit, server):
    bad = "<img src=x onerror=alert(1)><b>Bold</b>"
    new = {"items": [{"item": 900, "title": bad, "shelf": "</span><script>alert(2)</script>"}]}
    assert server.client.post("/items", json=new).status_code == 200
    shop = visit()
    shop.page.on("dialog", lambda dialog: pytest.fail("a script of an item ran"))
    shop.page.fill("#query", "onerror")
    shop.wait("#found button", "onerror")
    shop.page.locator("#found button").first.click()
    shop.after(1)
    assert shop.texts("#history li") == [bad]
    assert server.client.delete("/items/900").status_code == 204


def test_a_key_is_asked_for_and_a_server_that_is_gone_is_told(browser, readers):
    with served(readers["text"].run.path, key=KEY) as server:
        shop = Visit(browser, server.url)
        shop.wait("#problem", "send the API key")
        assert len(shop.items("found")) == 8  # items are no secret
        shop.page.fill("#key", "wrong-key-wrong-key")
        with shop.page.expect_response(lambda answer: answer.status == 401):
            shop.page.keyboard.press("Enter")
        shop.page.wait_for_timeout(300)
        assert shop.page.locator("#key-form").is_visible()
        shop.page.fill("#key", KEY)
        shop.page.keyboard.press("Enter")
        shop.page.locator("#key-form").wait_for(state="hidden")
        shop.wait("#no-best", "They come with the first click")
        shop.page.locator("#found button").first.click()
        shop.after(1)
        assert not shop.page.locator("#problem").is_visible()
        server.end()
        shop.page.locator("#found button").first.click()
        shop.wait("#problem", "cannot be reached")
        shop.context.close()


def test_headers(server):
    with httpx.Client(base_url=server.url) as client:
        for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
            answer = client.get(path)
            assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
            policy = dict(each.split(" ", 1) for each in answer.headers["content-security-policy"].split("; "))
            assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert client.head(path).status_code == 200
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
        assert (
            "access-control-allow-origin"
            not in client.get("/items", headers={"Origin": "https://evil.example"}).headers
        )
        page = client.get("/").text + client.get("/page.js").text + client.get("/page.css").text
        assert set(re.findall(r"https?://[^\s\"')]+", page)) <= {"http://www.w3.org/2000/svg"}
        assert client.get("/users/nobody/state").json() == {
            "user": "nobody",
            "events": 0,
            "last": None,
            "bytes": 0,
            "reads_time": True,
            "latest": [],
        }
        assert len(client.get("/items").json()["items"]) == ITEMS
