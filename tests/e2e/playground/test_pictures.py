"""Pictures that leave the page and come to it: downloads, recipes run elsewhere, files dropped on
it or painted over. The service is the whole one with `tiny`.
"""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from playwright.async_api import Page, expect

from tests.e2e.browser import serious_axe_violations
from tests.e2e.playground.conftest import draw
from tests.e2e.stack import Stack
from tests.service.files import file_of, noise, pixels_of

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture
def address(slow_stack: Stack) -> str:
    return slow_stack.url


async def _drawn(page: Page) -> None:
    await draw(page)
    await expect(page.locator("button.tile")).to_have_count(4)


async def _open_and_download(page: Page, number: int, folder: Path) -> Path:
    await page.locator("button.tile").nth(number).click()
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download").click()
    path = folder / (await download.value).suggested_filename
    await (await download.value).save_as(path)
    return path


async def test_a_downloaded_picture_dropped_on_the_page_fills_the_form(
    page: Page, tmp_path: Path
) -> None:
    await page.fill("#temperature", "0.7")
    await page.fill("#top-p", "0.9")
    await page.fill("#seed", "123456789")
    await _drawn(page)
    path = await _open_and_download(page, 1, tmp_path)
    assert path.name.startswith("a-red-apple-123456789-")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Forget all").click()
    await page.fill("#prompt", "")
    await page.get_by_role("button", name="Back to").click()
    await page.evaluate(
        """(content) => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "picture.png", {type: "image/png"}));
          document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true}));
        }""",
        base64.b64encode(path.read_bytes()).decode(),
    )
    values = {"#prompt": "a red apple", "#temperature": "0.7", "#top-k": "32", "#top-p": "0.9"}
    for field, value in (values | {"#seed": "123456789", "#num-candidates": "4"}).items():
        await expect(page.locator(field)).to_have_value(value)
    await expect(page.locator("#lock")).to_have_attribute("aria-pressed", "true")


async def test_a_file_without_settings_is_told_apart(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "other.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    await page.set_input_files("#file", path)
    await expect(page.locator("#notices")).to_contain_text("This file holds no settings.")


async def test_a_file_that_is_no_picture_is_told_until_one_is(page: Page, tmp_path: Path) -> None:
    broken, whole = tmp_path / "broken.png", tmp_path / "whole.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    whole.write_bytes(file_of(noise()))
    await page.set_input_files("#source-file", broken)
    await expect(page.locator("#notices")).to_contain_text("This file is no picture")
    await page.set_input_files("#source-file", whole)
    await expect(page.locator("#source-edit")).to_be_visible()
    await expect(page.locator("#notices")).to_be_empty()


async def test_a_picture_is_painted_over_and_drawn_anew(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    path.write_bytes(file_of(noise((64, 32))))
    await page.set_input_files("#source-file", path)
    await expect(page.locator("#keep-told")).to_have_text("the upper 50 %")
    async with page.expect_request("**/v1/jobs") as sending:
        await draw(page)
    sent: Any = (await sending.value).post_data_json
    assert (sent["keep"], "mask" in sent) == (0.5, False)
    await expect(page.locator("button.tile")).to_have_count(4)
    box = await page.locator("#source-paint").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    await page.mouse.up()
    await expect(page.locator("#keep")).to_be_disabled()
    async with page.expect_request("**/v1/jobs") as sending:
        await draw(page, "a blue bird")
    sent = (await sending.value).post_data_json
    picture, mask = (base64.b64decode(sent[name].partition(",")[2]) for name in ("image", "mask"))
    assert "keep" not in sent
    assert np.array_equal(pixels_of(picture), noise((64, 32))[:, 16:48])  # cut to cover 32x32
    with Pillow.open(io.BytesIO(mask)) as image:
        clear = np.asarray(image)[..., 3] == 0
    assert clear[12, 12]
    assert not clear[24:].any()
    await expect(page.locator("button.tile")).to_have_count(8)
    assert await serious_axe_violations(page) == []
    await page.get_by_role("button", name="Without a picture").click()
    await expect(page.locator("#source-edit")).to_be_hidden()


async def test_link_curl_and_python_make_the_same_picture(page: Page, tmp_path: Path) -> None:
    prompt = "it's \"red\", isn't it?"
    await page.fill("#seed", "5")
    await draw(page, prompt)
    await expect(page.locator("button.tile")).to_have_count(4)
    made = tmp_path / "picture.png"
    best = (await _open_and_download(page, 0, tmp_path)).read_bytes()
    _run(["sh", "-c", await _recipe(page, "curl line")], tmp_path)
    assert made.read_bytes() == best
    await page.keyboard.press("Escape")
    third = (await _open_and_download(page, 2, tmp_path)).read_bytes()
    _run([sys.executable, "-c", await _recipe(page, "Python")], tmp_path)
    assert made.read_bytes() == third
    link = await _recipe(page, "link")
    await page.goto("about:blank")
    await page.goto(link)
    await expect(page.locator("#prompt")).to_have_value(prompt)
    await expect(page.locator("#seed")).to_have_value("5")


async def _recipe(page: Page, name: str) -> str:
    await page.get_by_role("button", name=f"Copy {name}").click()
    return await page.get_by_label("Copied text").input_value()


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=30)
