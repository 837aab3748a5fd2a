"""Generate's number of jobs, Interrupt all, and Generate forever."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import FakeServer, finished, load, png, submit, wait_for


def test_interrupt_all_ends_the_running_job_and_the_waiting_ones(open_page: Page, server: FakeServer) -> None:
    load(open_page, png())
    server.fake.held = True
    generate = open_page.locator("#img2img_generate")
    submit(open_page)
    expect(open_page.locator("#img2img_progress")).to_contain_text("step")
    expect(open_page.locator("#img2img_interrupt_all")).to_be_hidden()
    submit(open_page)
    submit(open_page)
    expect(generate).to_have_attribute("data-badge", "3")
    open_page.click("#img2img_interrupt_all")
    toasts = open_page.locator(".toasts")
    expect(toasts).to_contain_text("The running job is interrupted and 2 waiting jobs are cancelled.")
    finished(open_page)
    expect(generate).not_to_have_attribute("data-badge", "3")
    assert not [job for job in server.fake.jobs.values() if job["status"] in ("queued", "running")]


def test_generate_forever_goes_on_until_it_is_stopped(open_page: Page, server: FakeServer) -> None:
    load(open_page, png())
    open_page.fill("#img2img_steps input[type=number]", "2")
    open_page.keyboard.press("Tab")
    before = len(server.fake.requests)
    generate = open_page.locator("#img2img_generate")
    generate.click(button="right")
    open_page.click("#img2img_generate_forever")
    expect(generate).to_have_attribute("data-badge", "∞")
    wait_for(lambda: len(server.fake.requests) >= before + 3, "a third job by itself")
    generate.click(button="right")
    expect(open_page.locator("#img2img_generate_forever")).to_have_text("Stop generating forever")
    open_page.click("#img2img_generate_forever")
    expect(generate).not_to_have_attribute("data-badge", "∞")
    thumbs = open_page.locator("#img2img_results .thumb")
    wait_for(lambda: thumbs.count() == len(server.fake.requests) - before, "the last job to end")
    sent = len(server.fake.requests)
    submit(open_page)  # an ordinary press makes one job again
    expect(thumbs).to_have_count(sent - before + 1)
    finished(open_page)
    assert len(server.fake.requests) == sent + 1
