/* What a page has is set up; what it has not is left out. */
for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);
const embedded = document.getElementById("data");
if (embedded) {
  const data = JSON.parse(embedded.textContent);
  if (document.getElementById("controls") && data.curves && data.curves.length) curveCharts(data);
  forestFilter(data);
  if (data.viewer) sampleViewer(data);
  classTables(data);
}
