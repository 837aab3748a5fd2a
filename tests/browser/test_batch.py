"""The Batch mode of img2img, in a real Chromium with the real routes and an engine that needs no model."""

import asyncio
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Page, expect

from modules.api.app import create_api
from modules.api.services import CatalogHolder, Services, SettingsHolder
from modules.api.v1.tokens import TokenCounter
from modules.flags.flags import Flags
from modules.jobs.batch.batches import Batches
from modules.jobs.batch.intake import BatchIntake
from modules.jobs.queue import JobQueue
from modules.jobs.saving import JobSavers, Saver
from modules.prompts.style_book import StyleBook
from modules.schema.catalog import Catalog, Checkpoint
from modules.schema.settings import Settings
from modules.store.history import History
from modules.store.outputs import Outputs
from modules.store.pictures import Pictures
from modules.ui.app import build_page, mount
from tests.browser.conftest import PATIENCE, answers, load, opened, png, wait_for
from tests.jobs.painter import Painter
from tests.ports import free_port


class BatchServer:
    """Palimpsest without its engine process, on a port, in its own thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.painter = Painter()
        outputs, pictures = Outputs(folder / "outputs"), Pictures(folder / "pictures")
        savers = JobSavers(Saver(outputs))
        queue = JobQueue(self.painter, savers)
        settings = SettingsHolder(Settings(), folder / "config.json")
        catalog = Catalog((Checkpoint("good", Path("good.safetensors"), defaults={"width": 64, "height": 64}),))
        self.services = Services(
            queue=queue,
            catalog=CatalogHolder(lambda: catalog),
            settings=settings,
            outputs=outputs,
            pictures=pictures,
            flags=Flags(data_dir=folder),
            count_tokens=TokenCounter(settings),
            intake=BatchIntake.of(
                Batches(queue, savers, outputs, pictures, styles=StyleBook(folder).styles), folder, outputs.root
            ),
            savers=savers,
            history=History(outputs, folder / "history.sqlite"),
        )
        self.port = free_port()
        self.catalog = catalog
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)
        self.thread.start()
        wait_for(lambda: answers(self.url), "the server to answer")

    async def serve(self) -> None:
        app = mount(create_api(self.services), build_page(self.catalog, Settings()))
        config = uvicorn.Config(app, port=self.port, log_level="critical", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(config)
        await self.server.serve()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.painter.held.clear()
        self.services.intake.batches.close()
        self.services.queue.close()
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(PATIENCE)

    def saved(self) -> list[str]:
        root = self.services.outputs.root
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))


@pytest.fixture(scope="module")
def batch_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchServer]:
    started = BatchServer(tmp_path_factory.mktemp("batches"))
    yield started
    started.stop()


@pytest.fixture
def batch_page(page: Page, batch_server: BatchServer, request: pytest.FixtureRequest) -> Page:
    """The page on a first visit, in Batch mode, with an output folder for this test only."""
    batch_server.painter.held.clear()
    batch_server.painter.requests.clear()
    page.goto(f"{batch_server.url}/internal/ping")
    page.evaluate("() => localStorage.clear()")
    opened(page, batch_server.url)
    page.click("#img2img_batch_mode")
    page.fill("#batch_option_output", request.node.name[:40])
    page.keyboard.press("Tab")
    return page


def choose(page: Page, files: dict[str, bytes], where: str = "files") -> None:
    page.set_input_files(
        f"#img2img_batch_{where}",
        files=[{"name": name, "mimeType": "application/octet-stream", "buffer": data} for name, data in files.items()],
    )


def begin(page: Page) -> None:
    with page.expect_response(lambda answer: answer.url.endswith("/v1/batches") and answer.ok):
        page.click("#img2img_generate")


def words(page: Page, text: str) -> None:
    expect(page.locator("#img2img_batch_words")).to_have_text(text, timeout=PATIENCE * 1000)


def test_a_batch_is_made_and_what_went_wrong_is_told(batch_page: Page, batch_server: BatchServer) -> None:
    choose(batch_page, {"a.png": png(seed=1), "b.png": b"no picture", "c.png": png(seed=2), "c.txt": b"a boat"})
    expect(batch_page.locator("#img2img_batch_zone strong")).to_contain_text("3 pictures, 1 text · ")
    batch_page.fill("#img2img_prompt textarea", "watercolor")
    begin(batch_page)
    words(batch_page, "finished, 3 files · 2 done · 1 failed")
    told = batch_page.locator("#img2img_batch_run li")
    expect(told).to_have_count(1)
    expect(told).to_contain_text("b.pngthe file is not a readable picture.")
    expect(batch_page.locator("#img2img_gallery .thumb")).to_have_count(2)
    assert {request.prompt for request, _ in batch_server.painter.requests} == {"watercolor", "watercolor a boat"}
    with batch_page.expect_download() as download:
        batch_page.click("#img2img_batch_zip")
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert archive.namelist() == ["a.png", "c.png"]
    batch_page.click("#img2img_batch_close")
    expect(batch_page.locator("#img2img_batch_run")).to_be_hidden()


def test_a_second_run_passes_over_what_is_finished(batch_page: Page, batch_server: BatchServer) -> None:
    choose(batch_page, {"a.png": png(seed=1)})
    begin(batch_page)
    words(batch_page, "finished, 1 file · 1 done")
    choose(batch_page, {"b.png": png(seed=2)})
    begin(batch_page)
    words(batch_page, "finished, 2 files · 1 done · 1 finished before")
    assert len(batch_server.painter.requests) == 2


def test_the_batch_goes_on_without_the_page_and_is_found_again(batch_page: Page, batch_server: BatchServer) -> None:
    batch_server.painter.held.set()
    choose(batch_page, {f"{number}.png": png(seed=number) for number in range(3)})
    begin(batch_page)
    words(batch_page, "1 of 3")
    expect(batch_page.locator("#img2img_batch_current")).to_contain_text("0.png")
    batch_page.goto(f"{batch_server.url}/internal/ping")
    batch_server.painter.held.clear()
    wait_for(lambda: len(batch_server.painter.requests) == 3, "the batch to go on")
    opened(batch_page, batch_server.url)
    expect(batch_page.locator("#img2img_batch_panel")).to_be_visible()
    words(batch_page, "finished, 3 files · 3 done")
    expect(batch_page.locator("#img2img_gallery .thumb")).to_have_count(3)
    expect(batch_page.locator("#img2img_batch_stop")).to_be_hidden()
    opened(batch_page, batch_server.url)  # its end has been seen
    expect(batch_page.locator("#img2img_batch_run")).to_be_hidden()


def test_stop_by_button_and_skip_by_keys(batch_page: Page, batch_server: BatchServer) -> None:
    batch_server.painter.held.set()
    choose(batch_page, {f"{number}.png": png(seed=number) for number in range(3)})
    begin(batch_page)
    expect(batch_page.locator("#img2img_batch_current")).to_contain_text("0.png")
    wait_for(lambda: len(batch_server.painter.requests) == 1, "the first file to be made")
    batch_page.keyboard.press("Alt+Enter")
    words(batch_page, "2 of 3 · 1 skipped")
    wait_for(lambda: len(batch_server.painter.requests) == 2, "the second file to be made")
    batch_page.click("#img2img_batch_stop")
    words(batch_page, "stopped at 1 of 3 · 1 skipped")
    expect(batch_page.locator("#img2img_batch_current")).to_contain_text("finished files are skipped")


def test_mask_controls_are_there_when_masks_are_and_masks_are_used(batch_page: Page, batch_server: BatchServer) -> None:
    controls = batch_page.locator("#img2img_inpaint_controls")
    expect(controls).to_be_hidden()
    expect(batch_page.locator("#img2img_batch_mask_options")).to_be_hidden()
    choose(batch_page, {"a.png": png(seed=1), "b.png": png(seed=2)})
    choose(batch_page, {"b_mask.png": png(seed=3)}, "mask_files")
    expect(controls).to_be_visible()
    expect(batch_page.locator("#img2img_batch_mask_options")).to_be_visible()
    batch_page.fill("#img2img_mask_blur input[type=number]", "9")
    batch_page.keyboard.press("Tab")
    begin(batch_page)
    words(batch_page, "finished, 2 files · 1 done · 1 left out")
    ((request, _),) = batch_server.painter.requests
    assert request.mask is not None
    assert request.mask_blur == 9
    batch_page.click("#img2img_batch_mask_clear")
    expect(controls).to_be_hidden()


def test_the_canvas_comes_back_and_keeps_its_picture(batch_page: Page) -> None:
    batch_page.click("#img2img_img2img_mode")
    load(batch_page, png())
    batch_page.click("#img2img_batch_mode")
    expect(batch_page.locator(".canvas")).to_be_hidden()
    expect(batch_page.locator("#img2img_batch_mode")).to_have_attribute("aria-selected", "true")
    expect(batch_page.locator("#img2img_img2img_mode")).to_have_attribute("aria-selected", "false")
    batch_page.click("#img2img_inpaint_mode")
    expect(batch_page.locator("#img2img_batch_panel")).to_be_hidden()
    expect(batch_page.locator(".canvas-stage")).to_be_visible()
    expect(batch_page.locator("#img2img_inpaint_controls")).to_be_visible()


def test_a_folder_gives_its_name_to_the_output(batch_page: Page, batch_server: BatchServer, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    (folder / "beach").mkdir(parents=True)
    (folder / "x.png").write_bytes(png(seed=1))
    (folder / "beach" / "y.png").write_bytes(png(seed=2))
    (folder / ".DS_Store").write_bytes(b"?")
    batch_page.fill("#batch_option_output", "batch")
    batch_page.keyboard.press("Tab")
    batch_page.set_input_files("#img2img_batch_dir", str(folder))
    expect(batch_page.locator("#batch_option_output")).to_have_value("batch/holiday")
    begin(batch_page)
    words(batch_page, "finished, 2 files · 2 done")
    assert [path for path in batch_server.saved() if "holiday" in path] == [
        "batch/holiday/beach/y.png",
        "batch/holiday/x.png",
    ]


def test_a_folder_on_the_server(batch_page: Page, batch_server: BatchServer) -> None:
    folder = batch_server.folder / "inputs" / "scans"
    folder.mkdir(parents=True)
    (folder / "scanned.png").write_bytes(png(seed=4))
    opened(batch_page, batch_server.url)
    batch_page.select_option("#batch_option_folder", "inputs/scans")
    begin(batch_page)
    words(batch_page, "finished, 1 file · 1 done")
    assert [Path(path).name for path in batch_server.saved()].count("scanned.png") == 1


def test_own_size_and_caps_and_what_metadata_gives(batch_page: Page, batch_server: BatchServer) -> None:
    choose(batch_page, {"a.png": png(200, 120)})
    batch_page.select_option("#batch_option_size", "source")
    batch_page.fill("#batch_option_max_side", "128")
    batch_page.keyboard.press("Tab")
    expect(batch_page.locator("#batch_own_seed")).to_be_hidden()
    batch_page.check("#batch_option_metadata")
    batch_page.check("#batch_own_seed")
    begin(batch_page)
    words(batch_page, "finished, 1 file · 1 done")
    ((request, _),) = batch_server.painter.requests
    assert (request.width, request.height) == (128, 72)
    opened(batch_page, batch_server.url)  # the values are remembered
    expect(batch_page.locator("#batch_option_size")).to_have_value("source")
    expect(batch_page.locator("#batch_own_seed")).to_be_checked()


def test_mistakes_are_told_where_they_are(batch_page: Page) -> None:
    told = batch_page.locator("#img2img_batch_error")
    batch_page.click("#img2img_generate")
    expect(told).to_contain_text("There are no pictures yet.")
    choose(batch_page, {"a.txt": b"a cat"})
    expect(told).to_be_hidden()
    batch_page.click("#img2img_generate")
    expect(told).to_contain_text("The given files contain no pictures.")
    choose(batch_page, {"a.png": png()})
    batch_page.fill("#batch_option_output", "../elsewhere")
    batch_page.keyboard.press("Tab")
    batch_page.click("#img2img_generate")
    expect(told).to_contain_text("expected the name of a folder inside outputs")
    batch_page.fill("#batch_option_output", "fine")
    batch_page.keyboard.press("Tab")
    choose(batch_page, {"bad.zip": b"PK no zip"})
    batch_page.click("#img2img_generate")
    expect(told).to_contain_text("bad.zip: the zip cannot be read")
    batch_page.click("#img2img_batch_clear")
    expect(batch_page.locator("#img2img_batch_zone strong")).to_have_text("Drop pictures, a folder or a zip here")


def test_styles_go_around_each_files_prompt_and_a_missing_one_is_named_at_its_chip(
    batch_page: Page, batch_server: BatchServer
) -> None:
    styles = f"{batch_server.url}/v1/styles"
    batch_page.request.put(f"{styles}/ink", data={"prompt": "ink of {prompt}", "negative_prompt": "photo"})
    batch_page.fill("#img2img_prompt textarea", "a fox")
    batch_page.click("#img2img_styles_edit_button")
    batch_page.check("#img2img_styles_dialog [data-style=ink] input")
    batch_page.keyboard.press("Escape")
    expect(batch_page.locator("#img2img_styles .chip")).to_have_text("ink")
    choose(batch_page, {"a.png": png()})
    begin(batch_page)
    words(batch_page, "finished, 1 file · 1 done")
    [(request, _)] = batch_server.painter.requests
    assert (request.prompt, request.negative_prompt) == ("ink of a fox", "photo")

    batch_page.request.delete(f"{styles}/ink")  # by another program
    batch_page.click("#img2img_generate")
    expect(batch_page.locator("#img2img_styles .p-error")).to_contain_text("there is no style 'ink'")


def test_files_can_be_dropped(batch_page: Page) -> None:
    batch_page.eval_on_selector(
        "#img2img_batch_zone",
        """zone => {
            const data = new DataTransfer();
            data.items.add(new File(["x"], "a.png", { type: "image/png" }));
            data.items.add(new File(["y"], "b.csv", { type: "text/csv" }));
            zone.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
    )
    expect(batch_page.locator("#img2img_batch_zone strong")).to_have_text("1 picture, 1 CSV · 1 KB")
    expect(batch_page.locator("#img2img_image")).not_to_have_class("filled")


def test_files_and_a_report_that_were_put_away_come_back(batch_page: Page, batch_server: BatchServer) -> None:
    choose(batch_page, {"away.png": png(64, 64, 41)})
    batch_page.click("#img2img_batch_clear")
    expect(batch_page.locator("#img2img_batch_zone")).to_contain_text("Drop pictures")
    choose(batch_page, {"later.png": png(64, 64, 42)})
    batch_page.locator(".toast", has_text="removed").get_by_role("button", name="Undo").click()
    expect(batch_page.locator("#img2img_batch_zone")).to_contain_text("2 pictures")
    begin(batch_page)
    words(batch_page, "finished, 2 files · 2 done")
    batch_page.click("#img2img_batch_close")
    expect(batch_page.locator("#img2img_batch_run")).to_be_hidden()
    batch_page.locator(".toast", has_text="Batch report closed.").get_by_role("button", name="Undo").click()
    words(batch_page, "finished, 2 files · 2 done")


def test_a_result_of_a_batch_that_is_sent_starts_anew_at_its_size(batch_page: Page) -> None:
    choose(batch_page, {"sent.png": png(64, 64, 43)})
    begin(batch_page)
    words(batch_page, "finished, 1 file · 1 done")
    batch_page.fill("#img2img_width input[type=number]", "128")
    batch_page.keyboard.press("Tab")
    batch_page.click("#img2img_send_to_img2img")
    expect(batch_page.locator("#img2img_image .source-text")).to_be_visible()
    expect(batch_page.locator("#tab_img2img")).to_have_attribute("data-mode", "img2img")
    expect(batch_page.locator("#img2img_width input[type=number]")).to_have_value("64")


@pytest.mark.parametrize("act", ["tab", "mode", "edit", "drop"])
def test_a_plain_report_leaves(batch_page: Page, act: str) -> None:
    report = batch_page.locator("#img2img_batch_run")
    choose(batch_page, {"done.png": png(64, 64, 44)})
    begin(batch_page)
    words(batch_page, "finished, 1 file · 1 done")
    batch_page.click("#img2img_fullscreen")  # looking at the results does not count as going on
    batch_page.keyboard.press("Escape")
    expect(report).to_be_visible()
    if act == "tab":
        batch_page.click("#tab_history_button")
    elif act == "mode":
        batch_page.click("#img2img_inpaint_mode")
    elif act == "edit":
        batch_page.fill("#img2img_prompt textarea", "a fox")
    else:
        choose(batch_page, {"next.png": png(64, 64, 45)})
    expect(report).to_be_hidden()
    told = batch_page.locator(".toast", has_text="Batch finished, 1 file · 1 done, in outputs/")
    told.get_by_role("button", name="Show").click()
    batch_page.click("#tab_img2img_button")
    words(batch_page, "finished, 1 file · 1 done")
    batch_page.fill("#img2img_prompt textarea", "a boat")
    expect(report).to_be_visible()  # the person asked for it


def test_a_report_with_remarks_becomes_a_line_that_can_be_opened(batch_page: Page) -> None:
    choose(batch_page, {"good.png": png(64, 64, 46), "bad.png": b"no picture"})
    begin(batch_page)
    words(batch_page, "finished, 2 files · 1 done · 1 failed")
    remark = batch_page.locator("#img2img_batch_run li")
    expect(remark).to_be_visible()
    batch_page.fill("#img2img_prompt textarea", "a fox")
    expect(remark).to_be_hidden()
    expect(batch_page.locator("#img2img_batch_run .bar")).to_be_hidden()
    batch_page.click("#img2img_batch_run summary")
    expect(remark).to_contain_text("bad.png")
    batch_page.fill("#img2img_prompt textarea", "a boat")
    expect(remark).to_be_visible()


@pytest.mark.parametrize(("answer", "made"), [("#ask_yes", 1), ("#ask_no", 0)])
def test_a_batch_can_do_without_a_lora_that_is_not_here(
    batch_page: Page, batch_server: BatchServer, answer: str, made: int
) -> None:
    choose(batch_page, {"a.png": png(64, 64, 47)})
    batch_page.fill("#img2img_prompt textarea", "a fox <lora:gone:1>")
    batch_page.click("#img2img_generate")
    expect(batch_page.locator("dialog.p-ask")).to_contain_text("Generate without it?")
    batch_page.click(answer)
    if made:
        words(batch_page, "finished, 1 file · 1 done")
    else:
        expect(batch_page.get_by_role("alert").filter(has_text="there is no LoRA 'gone'")).to_be_visible()
    assert [request.prompt.strip() for request, _ in batch_server.painter.requests] == ["a fox"] * made
