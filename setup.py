"""Package list and entry point; tools are configured in pyproject.toml."""

from pathlib import Path

from setuptools import setup

setup(
    name="icefloe",
    version="0.1.0",
    description="Very large sets of batch jobs on sites that nobody commands",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[
        "federation",
        "keys",
        "node",
        "node.beacon",
        "node.claims",
        "node.cli",
        "node.council",
        "node.fold",
        "node.http",
        "node.leading",
        "node.meshing",
        "node.model",
        "node.provisioning",
        "node.services",
        "node.store",
        "node.store.schema",
        "node.work",
        "pilot",
        "schedulers",
    ],
    package_data={"node.store.schema": ["*.sql"]},
    install_requires=[
        "apsw>=3.50",
        "click>=8.1",
        "cryptography>=42",
        "msgpack>=1.0.5",
        "prometheus-client>=0.20",
        "pynacl>=1.5",
        "pyopenssl>=24",
        "rich>=13",
        "service-identity>=24",
        "treq>=24.9",
        "twisted>=24.7",
    ],
    extras_require={
        "demo": ["chromo>=0.11", "matplotlib>=3.8", "nuflux>=2.0.7", "numpy>=1.26"],
        "dev": [
            "hypothesis>=6.100",
            "mypy>=1.11",
            "mypy-zope>=1.0.5",
            "pytest>=8",
            "pytest-xdist>=3.7",
            "ruff>=0.6",
            "vermin>=1.6",
        ],
    },
    entry_points={"console_scripts": ["floe = node.cli:main"]},
)
