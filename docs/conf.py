"""The documentation site: `nox -s docs`, or `sphinx-build -W docs build/docs`."""

import re
import warnings
from pathlib import Path

import hnscore

HERE = Path(__file__).resolve().parent

project, author = "hnscore", "the hnscore developers"
copyright = f"2026, {author}"
version = release = hnscore.__version__
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "myst_parser",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["examples", "_build", "sg_execution_times.rst", "gallery/sg_execution_times.rst"]
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = html_logo = "_static/icon.svg"
html_title = f"hnscore {release}"
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "logo": {"text": "hnscore"},
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_context = {"default_mode": "auto"}  # light or dark as the reader's system is
html_sidebars = {"index": [], "questions": [], "changelog": []}

default_role = "py:obj"  # docstrings name functions in single backticks
autosummary_generate = True
autodoc_typehints = "none"  # shapes and dtypes say more, and docstrings have them
numpydoc_show_class_members = False
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 4
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_\d+",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 1e9,
    "doc_module": ("hnscore",),
    "backreferences_dir": "gallery/backreferences",
    "show_signature": False,
}
warnings.filterwarnings("ignore", message=".*is non-interactive", category=UserWarning)  # matplotlib without a screen

# Pages that lie elsewhere in the repository, and what they are called here.
ELSEWHERE = {"benchmarks/results/README.md": "results.md", "CHANGELOG.md": "changelog.md"}


def link_to_pages(app, docname, source):
    """A link out of this folder goes to the page that has the file; without one, the file is named."""
    here = "benchmarks/results" if docname == "results" else "." if docname == "changelog" else "docs"

    def replaced(match):
        words, target, anchor = match[1], match[2], match[3] or ""
        path = Path(HERE.parent, here, target).resolve()
        if path.is_relative_to(HERE):
            return f"[{words}]({path.relative_to(HERE)}{anchor})"
        name = str(path.relative_to(HERE.parent))
        if name in ELSEWHERE:
            return f"[{words}]({ELSEWHERE[name]}{anchor})"
        if not path.exists():
            raise ValueError(f"{docname} links to {target}, which is not there")
        return f"{words} (`{name}`)"

    if docname in ("results", "changelog"):
        name = next(name for name, page in ELSEWHERE.items() if page == f"{docname}.md")
        source[0] = (HERE.parent / name).read_text(encoding="utf-8")
    if docname.startswith(("gallery", "generated")):
        return
    source[0] = re.sub(r"(?<!!)\[([^\]]*)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)]*)?\)", replaced, source[0])


def setup(app):
    app.connect("source-read", link_to_pages)
