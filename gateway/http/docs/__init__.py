"""The page at `/docs`: a viewer of `/openapi.json` that needs no network.

`openapi-explorer.min.js` is OpenAPI Explorer (Apache-2.0) as its authors build it, and LICENCES.txt
has the licences of all that is bundled in it. `deploy/docs_viewer.py` fetches both.
"""
