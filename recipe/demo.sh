#!/usr/bin/env bash
# The main job on real data: 875 infant gut samples (tests/data/ecam), 126 of them labelled with the infant's age.
# Set up, plan, pretrain, fit, predict, and cross-validate beside baselines; every artifact and page is written to
# demo-output/, and the last one is the page to look at.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
bash "$root/recipe/setup.sh"

data="$root/tests/data/ecam"
out="$root/demo-output"
rm -rf "$out"
mkdir "$out"
steps="$out/steps.tsv"

# step NAME ARGUMENTS OF QIIME...
step() {
    say '' "== $1"
    "$python" "$root/recipe/measure.py" "$steps" "$1" -- "$qiime" "${@:2}"
}

# 1. Can these data carry a model? The page says what speaks against it, what it will cost, and the commands to run.
step 'aam plan' aam plan \
    --i-table "$data/table.qza" \
    --i-sequences "$data/rep-seqs.qza" \
    --m-metadata-file "$data/metadata.tsv" \
    --m-metadata-column month_of_life \
    --m-groups-file "$data/metadata.tsv" \
    --m-groups-column subject \
    --o-visualization "$out/plan.qzv"

# 2. The distances between samples that the encoder will learn to predict, from QIIME 2's own plugins.
step 'rarefy' feature-table rarefy \
    --i-table "$data/table.qza" \
    --p-sampling-depth 1000 \
    --o-rarefied-table "$out/rarefied.qza"
step 'unweighted UniFrac' diversity-lib unweighted-unifrac \
    --i-table "$out/rarefied.qza" \
    --i-phylogeny "$data/rooted-tree.qza" \
    --o-distance-matrix "$out/unweighted-unifrac.qza"

# 3. Pretrain without labels, on the rarefied table that the distances were computed from; 0.1143 of 875 samples are the
#    100 that are held out.
step 'aam pretrain' aam pretrain \
    --i-table "$out/rarefied.qza" \
    --i-sequences "$data/rep-seqs.qza" \
    --i-distance-matrix "$out/unweighted-unifrac.qza" \
    --p-validation-fraction 0.1143 \
    --p-random-seed 1 \
    --o-encoder "$out/encoder.qza" \
    --o-history "$out/pretrain-history.qza" \
    --verbose

# 4. Learn the age from the 126 labelled samples; no infant is in two splits.
step 'aam fit-regressor' aam fit-regressor \
    --i-table "$data/table.qza" \
    --i-sequences "$data/rep-seqs.qza" \
    --i-encoder "$out/encoder.qza" \
    --m-metadata-file "$data/metadata.tsv" \
    --m-metadata-column month_of_life \
    --m-groups-file "$data/metadata.tsv" \
    --m-groups-column subject \
    --p-random-seed 1 \
    --o-regressor "$out/regressor.qza" \
    --o-predictions "$out/predictions.qza" \
    --o-details "$out/details.qza" \
    --o-history "$out/fit-history.qza" \
    --verbose

# 5. Predict the 749 samples without a label.
step 'filter to unlabelled' feature-table filter-samples \
    --i-table "$data/table.qza" \
    --m-metadata-file "$data/metadata.tsv" \
    --p-exclude-ids \
    --o-filtered-table "$out/unlabelled-table.qza"
step 'aam predict' aam predict \
    --i-table "$out/unlabelled-table.qza" \
    --i-sequences "$data/rep-seqs.qza" \
    --i-regressor "$out/regressor.qza" \
    --o-predictions "$out/unlabelled-predictions.qza" \
    --o-details "$out/unlabelled-details.qza" \
    --verbose

# 6. How good is it? Each of the 126 labelled samples is predicted by a model that has not seen its infant, and by
#    baselines on the same folds; then the page of the training of step 4, and that of these predictions.
step 'aam summarize-training' aam summarize-training \
    --i-history "$out/fit-history.qza" \
    --i-model "$out/regressor.qza" \
    --o-visualization "$out/fit-summary.qzv"
step 'aam evaluate-regressor' aam evaluate-regressor \
    --i-table "$data/table.qza" \
    --i-sequences "$data/rep-seqs.qza" \
    --i-encoder "$out/encoder.qza" \
    --m-metadata-file "$data/metadata.tsv" \
    --m-metadata-column month_of_life \
    --m-groups-file "$data/metadata.tsv" \
    --m-groups-column subject \
    --m-sample-metadata-file "$data/metadata.tsv" \
    --p-random-seed 1 \
    --o-predictions "$out/cv-predictions.qza" \
    --o-details "$out/cv-details.qza" \
    --o-metrics "$out/cv-metrics.qza" \
    --o-evaluation "$out/evaluation.qzv" \
    --verbose

say ''
"$python" "$root/recipe/demo_report.py" "$out"
