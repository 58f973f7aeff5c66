"""The mock OpenID provider as a process of its own, run by path: `python -I openid.py OPTIONS` of `oidc_provider_mock`.

Its libraries announce their own deprecations, whatever the interpreter was told; nobody can act on them here.
"""

import logging
import warnings


def main() -> None:
    warnings.showwarning = lambda *_args, **_kwargs: None
    # Request lines hold what goes over people's browsers: states, challenges.
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)
    from oidc_provider_mock.__main__ import run

    run()


if __name__ == "__main__":
    main()
