"""What pyproject.toml cannot say: the models that ship become part of the package when it is built.

They lie in the Slicer module's resources, and nowhere else; an editable install finds them there.
Named under ``[tool.setuptools.cmdclass]``, and used by the build alone.
"""

from __future__ import annotations

from pathlib import Path

from setuptools.command.build_py import build_py

MODELS = Path("AttentionUNetSegment", "Resources", "Models")
SHIPPED = Path("AttentionUNetSegmentLib", "shipped_models")  # in the package, as `models` knows it


class BuildWithModels(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source, target in self._models().items():
                self.mkpath(str(Path(target).parent))
                self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list:
        return [*super().get_outputs(include_bytecode), *self._models().values()]

    def get_source_files(self) -> list:
        """What a source distribution needs."""
        return [*super().get_source_files(), *self._models()]

    def _models(self) -> dict:
        """From the files in the sources to those in the built package."""
        if self.editable_mode:
            return {}
        return {
            str(file): str(Path(self.build_lib, SHIPPED, file.relative_to(MODELS)))
            for file in sorted(MODELS.rglob("*"))
            if file.is_file() and not file.name.startswith(".")
        }
