"""Serves the page's files."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)


@router.get("/", response_class=HTMLResponse)
async def index() -> str:
    """The page."""
    return "<!doctype html><title>resift</title>"
