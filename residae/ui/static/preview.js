// Takes previews to the light table with the id TABLE. previews.py describes `props.value`.
watch("value", () => residae.tables.find((table) => table.isIn(TABLE))?.preview(props.value || null));
