"""The viewer that `/docs` shows `/openapi.json` with; files only, which need no network.

`openapi-explorer.min.js` is OpenAPI Explorer (Apache-2.0) as its authors build it. LICENCES.txt
has the licences of all that is bundled in it. `deploy/docs_viewer.py` fetches both. Imports
nothing. Open `gateway/http/routes/docs_routes.py`, which serves them.
"""
