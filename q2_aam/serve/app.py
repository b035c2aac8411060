"""The application: which addresses there are, and what each answers."""

import asyncio
import contextlib
import logging
import traceback
from http import HTTPStatus
from typing import Any, Literal

import q2_aam
from q2_aam.config import PredictConfig
from q2_aam.errors import MachineError, UserError

from .answers import answer
from .limits import Limits, Refused
from .models import Served
from .page import page_of
from .requests import option, read_request
from .schema import REQUEST_BODY, RESPONSES, description_of
from .waiting import RETRY_AFTER, Waiting

PACKAGES = ('fastapi', 'uvicorn')
OPTIONS = ('coverage', 'harmonize', 'abstain')
HELP = {opt.name: opt.help for opt in PredictConfig.options()}
HEADERS = {'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store'}
FAILED = 'The server failed at this request; whoever runs it finds the place in its log.'
log = logging.getLogger('q2_aam.serve')


def make_app(served: Served, limits: Limits, runtime: dict[str, Any]):
    """Return the application of FastAPI.

    Parameters
    ----------
    served : Served
    limits : Limits
    runtime : dict
        Parameters of `predict` that requests cannot choose: device, threads.
    """
    from fastapi import FastAPI, Query, Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, JSONResponse
    from starlette.exceptions import HTTPException

    waiting = Waiting(limits)

    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield
        waiting.close()

    def said(status, sentence):
        headers = HEADERS | ({'Retry-After': RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else {})
        return JSONResponse({'error': sentence}, status, headers)

    # pages of FastAPI load scripts from elsewhere
    app = FastAPI(
        title=f'q2-aam: {served.kind} of {served.card["target"]}',
        version=q2_aam.__version__,
        description=description_of(served, limits),
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )

    @app.get('/health', summary='Whether the server answers, and how many requests it has.')
    async def health():
        return JSONResponse({'status': 'ok', 'inside': waiting.inside}, headers=HEADERS)

    @app.get('/model', summary='The card of the model, and what a request must have.')
    async def model():
        return JSONResponse(served.card, headers=HEADERS)

    @app.get('/', include_in_schema=False)
    @app.get('/docs', include_in_schema=False)
    async def docs():
        return HTMLResponse(page_of(app.openapi()), headers=HEADERS)

    @app.post(
        '/predict',
        summary='Predict the samples of a table.',
        openapi_extra={'requestBody': REQUEST_BODY},
        responses=RESPONSES,
    )
    async def predict(
        request: Request,
        coverage: float | None = Query(None, ge=0.01, le=0.99, description=HELP['coverage']),
        harmonize: Literal['auto', 'off'] = Query('auto', description=HELP['harmonize']),
        abstain: bool = Query(False, description=HELP['abstain']),
    ):
        option(request.query_params.multi_items(), OPTIONS)
        options = runtime | {'harmonize': harmonize, 'abstain': abstain}
        options |= {} if coverage is None else {'coverage': coverage}
        with waiting.place() as place:
            content = await read_body(request, limits)
            kind = request.headers.get('content-type', '')
            found = await computed(place, lambda: answer(served, read_request(kind, content, limits), options))
        return JSONResponse(found, headers=HEADERS)

    @app.exception_handler(Refused)
    async def refused(request, error):
        return said(error.status, error.sentence)

    @app.exception_handler(UserError)
    async def unusable(request, error):
        # of a machine without memory or disk: the same request can succeed later
        return said(503 if isinstance(error, MachineError) else 422, ' '.join(str(error).split()))

    @app.exception_handler(RequestValidationError)
    async def wrong_option(request, error):
        first = error.errors()[0]
        return said(
            422, f'The parameter {first["loc"][-1]} cannot be used: {first["msg"][:1].lower()}{first["msg"][1:]}.'
        )

    @app.exception_handler(HTTPException)
    async def no_such(request, error):
        return said(error.status_code, f'{error.detail}; the addresses are /predict (POST), /health, /model and /docs.')

    @app.exception_handler(Exception)
    async def failed(request, error):
        log.error('A request failed: %s', place_of(error))
        return said(500, FAILED)

    return app


async def computed(place, function):
    """Return what a function returns when it is its turn.

    Of an error of ours the place is logged, and no more is raised than what is answered: the server of HTTP would write
    all that it says into its log.
    """
    try:
        return await place.run(function)
    except (Refused, UserError):
        raise
    except Exception as error:
        log.error('A request failed: %s', place_of(error))
        raise Refused(500, FAILED) from None


def place_of(error: BaseException) -> str:
    """Return what an error is and where it was raised, without its words: these may hold IDs and counts."""
    return f'{type(error).__name__} in\n{"".join(traceback.format_tb(error.__traceback__))}'


async def read_body(request, limits: Limits) -> bytes:
    """Return the body of a request; Refused as soon as it is too large, or if it comes too slowly."""
    if request.headers.get('content-encoding', 'identity') != 'identity':
        raise Refused(415, 'A compressed body is not read; send it as it is, without Content-Encoding.')
    told = request.headers.get('content-length', '')
    if told.isdecimal() and int(told[:20]) > limits.max_bytes:
        raise too_large(limits)

    async def read():
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > limits.max_bytes:
                raise too_large(limits)
            parts.append(part)
        return b''.join(parts)

    try:
        return await asyncio.wait_for(read(), limits.max_seconds)
    except asyncio.TimeoutError:
        raise Refused(
            408, f'The body of the request did not come within {limits.max_seconds:,} seconds; send it again.'
        ) from None


def too_large(limits: Limits) -> Refused:
    """Return what is answered to a body that is too large."""
    return Refused(
        413,
        f'The body of the request has more than {limits.max_megabytes:,} MB, which is all that this server takes at '
        'once; send fewer samples.',
    )
