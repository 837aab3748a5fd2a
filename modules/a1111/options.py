"""A1111's options that have no effect here, stored for clients that read all options, change one and write all back.

Names, defaults and ranges are A1111 v1.10's. Options that have an effect are fields of `Settings` with the same names.
"""

import difflib
import json
import logging
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from modules.base.disk import write_over
from modules.base.errors import WebuiError
from modules.base.fields import cut, explained
from modules.base.kept import Unreadable, copy_aside, read_json
from modules.schema.settings import Settings

log = logging.getLogger(__name__)

MAX_TEXT = 10_000  # characters of an option

ON = (
    "samples_save", "save_images_add_number", "grid_save", "grid_only_if_multiple", "export_for_4chan",
    "use_original_name_batch", "save_selected_only", "save_write_log_csv", "notification_audio", "save_to_dirs",
    "grid_save_to_dirs", "show_gradio_deprecation_warnings", "multiple_tqdm", "enable_upscale_progressbar",
    "list_hidden_files", "hide_ldm_prints", "api_forbid_local_requests", "save_training_settings_to_txt",
    "sd_checkpoints_keep_in_cpu", "enable_batch_seeds", "sd_vae_overrides_per_model_preferences",
    "auto_vae_precision", "persistent_cond_cache", "auto_backcompat", "deepbooru_sort_alpha",
    "deepbooru_use_spaces", "deepbooru_escape", "textual_inversion_add_hashes_to_infotext",
    "lora_add_hashes_to_infotext", "lora_bundled_ti_to_infotext", "lora_show_all",
    "extra_networks_show_hidden_directories", "extra_networks_card_show_desc", "keyedit_move", "return_grid",
    "js_modal_lightbox", "js_modal_lightbox_initially_zoomed", "samplers_in_dropdown",
    "dimensions_and_batch_together", "compact_prompt_box", "interrupt_after_current", "show_progress_in_title",
    "send_seed", "send_size", "enable_pnginfo", "add_model_name_to_info", "add_model_hash_to_info",
    "add_vae_name_to_info", "add_vae_hash_to_info", "add_version_to_infotext", "disable_weights_auto_swap",
    "show_progressbar", "show_progress_grid", "prevent_screen_sleep_during_generation", "canvas_show_tooltip",
    "canvas_auto_expand", "include_styles_into_token_counters",
)  # fmt: skip
OFF = (
    "hires_fix_use_firstpass_conds",
    "save_images_before_face_restoration", "save_images_before_highres_fix", "save_images_before_color_correction",
    "grid_extended_filename", "grid_prevent_empty_spots",
    "use_upscaler_name_as_suffix", "clean_temp_dir_at_start", "save_incomplete_images",
    "use_save_to_dirs_for_ui", "set_scale_by_when_changing_upscaler", "SWIN_torch_compile", "ldsr_cached",
    "face_restoration", "face_restoration_unload", "enable_console_prompts", "show_warnings", "samples_log_stdout",
    "print_hypernet_extra", "disable_mmap_load_safetensors", "dump_stacks_on_signal", "profiling_enable",
    "profiling_record_shapes", "profiling_profile_memory", "profiling_with_stack", "unload_models_when_training",
    "pin_memory", "save_optimizer_state", "training_xattention_optimizations", "training_enable_tensorboard",
    "training_tensorboard_save_images", "enable_quantization", "upcast_attn", "sd3_enable_t5",
    "auto_vae_precision_bfloat16", "cache_fp16_weight",
    "hypertile_enable_unet", "hypertile_enable_unet_secondpass", "hypertile_enable_vae",
    "interrogate_keep_models_in_memory", "interrogate_return_ranks", "lora_not_found_warning_console",
    "lora_not_found_gradio_warning", "lora_functional", "extra_networks_dir_button_function",
    "extra_networks_card_description_is_html", "disable_token_counters", "do_not_show_images",
    "js_modal_lightbox_gamepad", "samplers_in_dropdown_short_names", "hires_fix_show_sampler",
    "hires_fix_show_prompts", "txt2img_settings_accordion", "img2img_settings_accordion",
    "enable_reloading_ui_scripts", "save_txt", "add_user_name_to_info", "live_preview_allow_lowvram_full",
    "live_preview_fast_interrupt", "js_live_preview_in_modal_lightbox", "canvas_blur_prompt",
    "quicksettings_accordion",
)  # fmt: skip
NUMBERS: Mapping[str, tuple[float, float, float]] = {  # default, minimum, maximum
    "n_rows": (-1, -1, 16), "img_downscale_threshold": (4.0, 0, 10_000), "target_side_length": (4000, 0, 100_000),
    "img_max_size_mp": (200, 0, 100_000), "notification_volume": (100, 0, 100),
    "directories_max_prompt_words": (8, 1, 20),
    "ESRGAN_tile": (192, 0, 512), "ESRGAN_tile_overlap": (8, 0, 48), "DAT_tile": (192, 0, 512),
    "DAT_tile_overlap": (8, 0, 48), "SCUNET_tile": (256, 0, 512), "SCUNET_tile_overlap": (8, 0, 64),
    "SWIN_tile": (192, 16, 512), "SWIN_tile_overlap": (8, 0, 48), "ldsr_steps": (100, 1, 200),
    "code_former_weight": (0.5, 0, 1), "memmon_poll_rate": (8, 0, 40),
    "training_image_repeats_per_epoch": (1, 0, 10_000),
    "training_write_csv_every": (500, 0, 1_000_000), "training_tensorboard_flush_every": (120, 0, 100_000),
    "sd_checkpoints_limit": (1, 1, 10), "sd_checkpoint_cache": (0, 0, 10), "sd_vae_checkpoint_cache": (0, 0, 10),
    "img2img_editor_height": (720, 80, 1600), "img2img_batch_show_results_limit": (32, -1, 1000),
    "hypertile_max_depth_unet": (3, 0, 3),
    "hypertile_max_tile_unet": (256, 0, 512), "hypertile_swap_size_unet": (3, 0, 64),
    "hypertile_max_depth_vae": (3, 0, 3), "hypertile_max_tile_vae": (128, 0, 512),
    "hypertile_swap_size_vae": (3, 0, 64),
    "interrogate_clip_num_beams": (1, 1, 16), "interrogate_clip_min_length": (24, 1, 128),
    "interrogate_clip_max_length": (48, 1, 256), "interrogate_clip_dict_limit": (1500, 0, 1_000_000),
    "interrogate_deepbooru_score_threshold": (0.5, 0, 1), "extra_networks_default_multiplier": (1.0, 0, 2),
    "extra_networks_card_width": (0, 0, 10_000), "extra_networks_card_height": (0, 0, 10_000),
    "extra_networks_card_text_scale": (1.0, 0, 2), "lora_in_memory_limit": (0, 0, 10_000),
    "keyedit_precision_attention": (0.1, 0.01, 0.2), "keyedit_precision_extra": (0.05, 0.01, 0.2),
    "js_modal_lightbox_gamepad_repeat": (250, 0, 100_000), "sd_webui_modal_lightbox_icon_opacity": (1, 0, 1),
    "sd_webui_modal_lightbox_toolbar_opacity": (0.9, 0, 1), "live_preview_refresh_period": (1000, 0, 1_000_000),
    "postprocessing_existing_caption_actions_limit": (5, 0, 100), "upscaling_max_images_in_cache": (5, 0, 10),
}  # fmt: skip
TEXTS: Mapping[str, str] = {
    "samples_filename_pattern": "", "grid_format": "png", "grid_zip_filename_pattern": "", "font": "",
    "grid_text_active_color": "#000000", "grid_text_inactive_color": "#999999", "grid_background_color": "#ffffff",
    "temp_dir": "", "outdir_samples": "", "outdir_txt2img_samples": "outputs/txt2img-images",
    "outdir_img2img_samples": "outputs/img2img-images", "outdir_extras_samples": "outputs/extras-images",
    "outdir_grids": "", "outdir_txt2img_grids": "outputs/txt2img-grids",
    "outdir_img2img_grids": "outputs/img2img-grids",
    "outdir_save": "log/images", "outdir_init_images": "outputs/init-images", "directories_filename_pattern": "[date]",
    "api_useragent": "", "dataset_filename_word_regex": "", "dataset_filename_join_string": " ",
    "profiling_filename": "trace.json", "img2img_sketch_default_brush_color": "#ffffff",
    "img2img_inpaint_mask_brush_color": "#ffffff", "img2img_inpaint_sketch_default_brush_color": "#ffffff",
    "deepbooru_filter_tags": "", "extra_networks_add_text_separator": " ", "keyedit_delimiters": r".,\/!?%^*;:{}=`~() ",
    "keyedit_delimiters_whitespace": "", "localization": "None", "gradio_theme": "Default", "gallery_height": "",
    "open_dir_button_choice": "Subdirectory", "ui_reorder_list": "", "quicksettings": "sd_model_checkpoint",
    "extra_networks_default_view": "cards", "extra_networks_card_order_field": "Path",
    "extra_networks_card_order": "Ascending", "extra_networks_tree_view_style": "Dirs",
    "canvas_hotkey_zoom": "Alt", "canvas_hotkey_adjust": "Ctrl", "canvas_hotkey_shrink_brush": "Q",
    "canvas_hotkey_grow_brush": "W", "canvas_hotkey_move": "F", "canvas_hotkey_fullscreen": "S",
    "canvas_hotkey_reset": "R", "canvas_hotkey_overlap": "O", "sd_checkpoint_hash": "",
    "disabled_extensions_remark": "", "restore_config_state_file": "",
}  # fmt: skip
CHOICES: Mapping[str, tuple[str, ...]] = {  # the first is the default
    "save_images_replace_action": ("Replace", "Add number suffix"),
    "auto_launch_browser": ("Local", "Disable", "Remote"),
    "face_restoration_model": ("CodeFormer", "GFPGAN"),
    "sd_unet": ("Automatic", "None"),
    "sd_hypernetwork": ("None",),
    "sd_lora": ("None",),
    "sd_vae_encode_method": ("Full",),
    "sd_vae_decode_method": ("Full",),
    "cross_attention_optimization": ("Automatic", "sdp", "sdp-no-mem", "None"),
    "fp8_storage": ("Disable",),
    "lora_preferred_name": ("Alias from file", "Filename"),
    "live_previews_image_format": ("png", "jpeg", "webp"),
    "show_progress_type": ("Approx NN", "Approx cheap", "Full", "TAESD"),
    "live_preview_content": ("Prompt", "Combined", "Negative prompt"),
    "ddim_discretize": ("uniform", "quad"),
    "postprocessing_existing_caption_action": ("Ignore", "Keep", "Prepend", "Append"),
}
LISTS = (
    "realesrgan_enabled_models", "dat_enabled_models", "interrogate_clip_skip_categories",
    "lora_hide_unknown_for_versions", "quicksettings_list", "ui_tab_order", "hidden_tabs", "infotext_skip_pasting",
    "hide_samplers", "postprocessing_enable_in_main_ui", "postprocessing_disable_in_extras",
    "postprocessing_operation_order", "disabled_extensions", "profiling_activities", "canvas_disabled_functions",
)  # fmt: skip

# As in A1111, these are read-only over HTTP: they are listed, but ignored if a client sends them back.
TOLD_ONLY = frozenset({"sd_checkpoint_hash", "api_enable_requests", "api_forbid_local_requests", "api_useragent"})


def _fields() -> dict[str, Any]:
    text = Annotated[str, Field(max_length=MAX_TEXT)]
    found: dict[str, Any] = {}
    for names, default in ((ON, True), (OFF, False)):
        found |= {str(name): (bool, default) for name in names}
    for name, (default, least, most) in NUMBERS.items():
        number = int if isinstance(default, int) else float
        found[name] = (number, Field(default, ge=least, le=most))
    found |= {name: (text, default) for name, default in TEXTS.items()}
    found |= {name: (Literal[choices], choices[0]) for name, choices in CHOICES.items()}
    found |= {name: (list[text], Field([], max_length=1000)) for name in LISTS}
    found["api_enable_requests"] = (bool, False)
    return {name: value for name, value in found.items() if name not in Settings.model_fields}


A1111Options: type[BaseModel] = create_model(
    "A1111Options", __config__=ConfigDict(frozen=True, extra="forbid"), **_fields()
)
NAMES = frozenset(A1111Options.model_fields)
MOST_REPORTED = 20  # ignored entries of a file that get a log line each
BESIDE_A1111 = "config-palimpsest.json"  # Palimpsest's settings if config.json is A1111's
WITH_A1111 = "config-with-a1111.json"  # Palimpsest's settings while an A1111 in another folder is used too


def own_settings(file: Path, borrowed: Path | None = None) -> tuple[Settings, Path]:
    """(the settings of a data folder whose settings file is `file`, the file they are stored in).

    In an A1111 installation, `file` is A1111's. `borrowed` is the config.json of an A1111 in another folder. The first
    start reads the known settings from A1111's file, which is never changed: changes go to a separate file beside
    `file`, and later starts read that one.
    """
    is_a1111s = borrowed is None and _is_a1111s(file)
    own_file = file.with_name(BESIDE_A1111 if borrowed is None else WITH_A1111)
    if own_file.exists():
        return Settings.load(own_file), own_file
    if borrowed is None and not is_a1111s:
        return Settings.load(file), file
    theirs = file if borrowed is None else borrowed
    settings, others = Settings.read(theirs)
    log.info(
        "%s is A1111's and is not changed. Known settings are read from it (%d others are ignored); changes are saved "
        "in %s.",
        theirs, len(others), own_file.name,
    )  # fmt: skip
    return settings, own_file


def _is_a1111s(file: Path) -> bool:
    try:
        kept = read_json(file, any_number=True)
    except (FileNotFoundError, Unreadable):
        return False
    return isinstance(kept, dict) and bool(cast(dict[str, Any], kept).keys() & NAMES)


def unknown_option(name: str, others: Iterable[str] = ()) -> WebuiError:
    """An error for an unknown option, with the closest match."""
    shown = name[:100]
    near = difflib.get_close_matches(shown, [*Settings.model_fields, *NAMES, *others], 1, 0.0)[0]
    sentence = f"there is no option {shown!r}; did you mean {near!r}?"
    return WebuiError(sentence, "GET /sdapi/v1/options lists them.", shown)


def validated(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` (by names in `NAMES`), converted to the options' types. Raises WebuiError for the first invalid one."""
    try:
        return A1111Options.model_validate(cut(A1111Options, values)).model_dump(include=set(values))
    except ValidationError as error:
        raise explained(A1111Options, error) from error


class KeptOptions:
    """The values of these options, and the file that stores them. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._changed, unread = _read(path)
        for reason in unread[:MOST_REPORTED]:
            log.warning("%s: an entry was ignored: %s", path, reason)
        if len(unread) > MOST_REPORTED:
            log.warning("%s: %d more entries were ignored.", path, len(unread) - MOST_REPORTED)

    @property
    def values(self) -> dict[str, Any]:
        """All options by name, with defaults for those never set."""
        return {**A1111Options().model_dump(), **self._changed}

    def change(self, values: Mapping[str, Any]) -> None:
        """Apply and save `values` (from `validated`). Raises WebuiError if they cannot be saved."""
        with self._lock:
            defaults = A1111Options().model_dump()
            changed = {name: value for name, value in {**self._changed, **values}.items() if value != defaults[name]}
            if changed == self._changed:
                return
            try:
                if _read(self._path)[1]:
                    copy_aside(self._path)
                write_over(self._path, f"{json.dumps(changed, indent=2, ensure_ascii=False)}\n".encode())
            except OSError as error:
                raise WebuiError(
                    f"The options cannot be saved in {self._path.name}: {error.strerror or error}.",
                    "Free some disk space, or make the folder writable.",
                    status=507,
                ) from error
            self._changed = changed


def _read(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(the stored values that are still valid, why the others are not). They have no effect, so losing one is safe."""
    try:
        kept = read_json(path, any_number=True)
    except FileNotFoundError:
        return {}, ()
    except Unreadable as reason:
        return {}, (f"{reason}.",)
    if not isinstance(kept, dict):
        return {}, ("it is not a JSON object.",)
    found: dict[str, Any] = {}
    unread: list[str] = []
    for name, value in cast(dict[str, Any], kept).items():
        try:
            found |= validated({name: value})
        except WebuiError as error:
            unread.append(str(error))
    return found, tuple(unread)
